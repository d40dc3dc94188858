#include "dlcm/io/mapped_file.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace dlcm {

MappedFile::MappedFile(const std::string& path) {
  const auto size = static_cast<size_t>(InputFile(path).bytes());
  if (size == 0) return;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapped = descriptor < 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  const int error_number = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (mapped == MAP_FAILED) {
    throw RuntimeFailure("cannot map {} into memory: {}", path, std::generic_category().message(error_number));
  }
  bytes_ = {static_cast<const std::byte*>(mapped), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace dlcm
