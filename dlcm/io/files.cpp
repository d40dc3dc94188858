#include "dlcm/io/files.h"

#include "dlcm/util/error.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace dlcm {
namespace {

// Linux moves at most 0x7ffff000 bytes per call.
constexpr int64_t kLargestTransfer = int64_t{1} << 30;

std::string reason(int error_number) { return std::generic_category().message(error_number); }

std::string parent_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

int open_for_reading(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    return descriptor;
  }
  if (errno == ENOENT || errno == ENOTDIR) {
    throw Error("expected a file at {}, found none: check the path", path);
  }
  throw RuntimeFailure("cannot open {}: {}", path, reason(errno));
}

void write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const auto wanted = std::min(bytes.size(), static_cast<size_t>(kLargestTransfer));
    const ssize_t written = ::write(descriptor, bytes.data(), wanted);
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw RuntimeFailure("cannot write {}: {}", path, reason(errno));
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

std::string read_file(const std::string& path, int64_t largest_bytes) {
  const InputFile file(path);
  if (file.bytes() > largest_bytes) {
    throw Error("expected at most {} bytes in {}, found {}: is it the right file?", largest_bytes, path, file.bytes());
  }
  std::string content(static_cast<size_t>(file.bytes()), '\0');
  file.read(0, content.data(), file.bytes());
  return content;
}

void write_file_synced(const std::string& path, std::string_view content) {
  OutputFile file(path);
  file.append(content);
  file.close();
}

void sync_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw RuntimeFailure("cannot open the directory {}: {}", path, reason(errno));
  }
  // EINVAL: the file system has nothing to sync for a directory.
  const int error_number = ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
  ::close(descriptor);
  if (error_number != 0) {
    throw RuntimeFailure("cannot sync the directory {}: {}", path, reason(error_number));
  }
}

void rename_synced(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw RuntimeFailure("cannot rename {} to {}: {}", from, to, reason(errno));
  }
  sync_directory(parent_of(to));
}

InputFile::InputFile(std::string path) : path_(std::move(path)), descriptor_(open_for_reading(path_)) {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    const int error_number = errno;
    ::close(descriptor_);
    throw RuntimeFailure("cannot read {}: {}", path_, reason(error_number));
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw Error("expected a file at {}, found {}: check the path", path_,
                S_ISDIR(status.st_mode) ? "a directory" : "something that is no regular file");
  }
  bytes_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(int64_t offset, void* buffer, int64_t length) const {
  auto* destination = static_cast<char*>(buffer);
  while (length > 0) {
    const ssize_t count =
        ::pread(descriptor_, destination, static_cast<size_t>(std::min(length, kLargestTransfer)), offset);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      throw RuntimeFailure("cannot read {}: {}", path_, reason(errno));
    }
    if (count == 0) {
      throw RuntimeFailure("{} became shorter while it was read: is another process writing it?", path_);
    }
    destination += count;
    offset += count;
    length -= count;
  }
}

OutputFile::OutputFile(const std::string& path) {
  std::error_code ignored;
  // A link stays a link: what it names is replaced.
  path_ = std::filesystem::is_symlink(path, ignored) ? std::filesystem::weakly_canonical(path, ignored).string() : path;
  const auto kind = std::filesystem::status(path_, ignored).type();
  const bool in_place = kind != std::filesystem::file_type::not_found && kind != std::filesystem::file_type::regular;
  written_path_ = in_place ? path_ : path_ + ".partial";
  descriptor_ = ::open(written_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw RuntimeFailure("cannot create {}: {}", written_path_, reason(errno));
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
    if (written_path_ != path_) {
      ::unlink(written_path_.c_str());
    }
  }
}

void OutputFile::append(std::string_view bytes) { write_all(descriptor_, bytes, path_); }

void OutputFile::close() {
  // EINVAL: a pipe or a device has nothing to sync.
  if (::fsync(descriptor_) != 0 && errno != EINVAL) {
    throw RuntimeFailure("cannot sync {}: {}", path_, reason(errno));
  }
  if (written_path_ != path_) {
    rename_synced(written_path_, path_);
  }
  ::close(descriptor_);
  descriptor_ = -1;
}

PlacedFile::PlacedFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw RuntimeFailure("cannot create {}: {}", path_, reason(errno));
  }
}

PlacedFile::~PlacedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PlacedFile::write(int64_t offset, const void* buffer, int64_t length) {
  const auto* source = static_cast<const char*>(buffer);
  while (length > 0) {
    const ssize_t count =
        ::pwrite(descriptor_, source, static_cast<size_t>(std::min(length, kLargestTransfer)), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      throw RuntimeFailure("cannot write {}: {}", path_, reason(errno));
    }
    source += count;
    offset += count;
    length -= count;
  }
}

void PlacedFile::extend(int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) {
    throw RuntimeFailure("cannot write {}: {}", path_, reason(errno));
  }
}

void PlacedFile::close() {
  if (::fsync(descriptor_) != 0 && errno != EINVAL) {
    throw RuntimeFailure("cannot write {}: {}", path_, reason(errno));
  }
  const int error_number = ::close(std::exchange(descriptor_, -1)) == 0 ? 0 : errno;
  if (error_number != 0) {
    throw RuntimeFailure("cannot write {}: {}", path_, reason(error_number));
  }
}

AppendFile::AppendFile(std::string path)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) {
    throw RuntimeFailure("cannot open {} for writing: {}", path_, reason(errno));
  }
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::append(std::string_view record) { write_all(descriptor_, record, path_); }

ResumableFile::ResumableFile(std::string path, int64_t bytes)
    : path_(std::move(path)),
      descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)),
      written_bytes_(bytes) {
  if (descriptor_ < 0) {
    throw RuntimeFailure("cannot open {} for writing: {}", path_, reason(errno));
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || status.st_size < bytes || ::ftruncate(descriptor_, bytes) != 0 ||
      ::lseek(descriptor_, bytes, SEEK_SET) < 0) {
    ::close(descriptor_);
    throw Error("expected {} bytes in {}, found fewer: remove the interrupted work and begin again", bytes, path_);
  }
}

ResumableFile::~ResumableFile() { ::close(descriptor_); }

void ResumableFile::append(std::string_view bytes) {
  constexpr size_t kBufferBytes = size_t{1} << 20;
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    flush();
  }
  if (bytes.size() >= kBufferBytes) {
    write_all(descriptor_, bytes, path_);
    written_bytes_ += static_cast<int64_t>(bytes.size());
  } else {
    buffer_ += bytes;
  }
}

void ResumableFile::overwrite(int64_t offset, std::string_view bytes) {
  flush();
  if (::lseek(descriptor_, offset, SEEK_SET) < 0) {
    throw RuntimeFailure("cannot write {}: {}", path_, reason(errno));
  }
  write_all(descriptor_, bytes, path_);
  if (::lseek(descriptor_, written_bytes_, SEEK_SET) < 0) {
    throw RuntimeFailure("cannot write {}: {}", path_, reason(errno));
  }
}

void ResumableFile::flush() {
  write_all(descriptor_, buffer_, path_);
  written_bytes_ += static_cast<int64_t>(buffer_.size());
  buffer_.clear();
}

void ResumableFile::sync() {
  flush();
  if (::fsync(descriptor_) != 0) {
    throw RuntimeFailure("cannot sync {}: {}", path_, reason(errno));
  }
}

RunLock::RunLock(const std::string& run, std::string_view work) {
  std::error_code failure;
  std::filesystem::create_directories(run, failure);
  if (failure) {
    throw RuntimeFailure("cannot create the directory {}: {}", run, failure.message());
  }
  const std::string path = run + "/lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw RuntimeFailure("cannot open {}: {}", path, reason(errno));
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error_number = errno;
    char holder[32] = {};
    const ssize_t length = ::pread(descriptor_, holder, sizeof(holder), 0);
    ::close(descriptor_);
    if (error_number != EWOULDBLOCK) {
      throw RuntimeFailure("cannot lock {}: {}", path, reason(error_number));
    }
    std::string process(holder, static_cast<size_t>(std::max<ssize_t>(length, 0)));
    process.erase(process.find_last_not_of('\n') + 1);
    throw Error("another {} is running in {} (process {}): stop it first, or choose another --output", work, run,
                process.empty() ? "unknown" : process);
  }
  // The file stays when the lock goes: removing it would let two processes lock two files of one name.
  const std::string process = fmt::format("{}\n", ::getpid());
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, process.data(), process.size(), 0) != static_cast<ssize_t>(process.size())) {
    const int error_number = errno;
    ::close(descriptor_);
    throw RuntimeFailure("cannot write {}: {}", path, reason(error_number));
  }
}

RunLock::~RunLock() { ::close(descriptor_); }

}  // namespace dlcm
