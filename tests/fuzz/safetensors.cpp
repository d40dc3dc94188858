// safetensors files: no bytes may crash the reader or make it take more memory than they are worth, and what it takes
// is what it writes and reads again.
#include "dlcm/io/safetensors.h"
#include "tests/fuzz/harness.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>

namespace dlcm {
namespace {

// A file in memory, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content) : descriptor_(::memfd_create("fuzz", 0)) {
    fuzz::expect(descriptor_ >= 0);
    fuzz::expect(::write(descriptor_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

DLCM_FUZZ_HARNESS(safetensors) {
  const MemoryFile file(bytes);
  const auto content = load_safetensors(file.path());
  size_t held = 0;
  for (const auto& [name, tensor] : content.tensors) held += tensor.nbytes();
  fuzz::expect(held <= bytes.size());
  const MemoryFile copy("");
  save_safetensors(copy.path(), content);
  const auto again = load_safetensors(copy.path());
  fuzz::expect(again.metadata == content.metadata && again.tensors.size() == content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    const auto& other = again.tensors.at(name);
    fuzz::expect(other.scalar_type() == tensor.scalar_type() && other.sizes() == tensor.sizes());
    fuzz::expect(tensor.nbytes() == 0 ||
                 std::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()) ==
                     std::string_view(static_cast<const char*>(other.const_data_ptr()), other.nbytes()));
  }
}

}  // namespace dlcm
