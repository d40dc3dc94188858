#include "dlcm/io/byte_source.h"

#include "dlcm/util/error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <istream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace dlcm {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;
constexpr std::string_view kGzipMagic = "\x1f\x8b";
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

// The file as it is stored, from a descriptor or from a stream, with a look at the bytes to come.
class StoredBytes {
 public:
  StoredBytes(int descriptor, std::string name) : name_(std::move(name)), descriptor_(descriptor) {}
  StoredBytes(std::istream& stream, std::string name) : name_(std::move(name)), stream_(&stream) {}
  ~StoredBytes() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  StoredBytes(const StoredBytes&) = delete;
  StoredBytes& operator=(const StoredBytes&) = delete;

  const std::string& name() const { return name_; }
  int64_t bytes_read() const { return bytes_read_ - static_cast<int64_t>(pending_.size()); }

  // What is buffered; at least `least` bytes unless the file ends before.
  std::string_view peek(size_t least = 1) {
    while (pending_.size() < least && !at_end_) {
      std::copy(pending_.begin(), pending_.end(), buffer_.begin());
      const size_t count = fill(buffer_.data() + pending_.size(), buffer_.size() - pending_.size());
      pending_ = std::string_view(buffer_.data(), pending_.size() + count);
      at_end_ = count == 0;
      bytes_read_ += static_cast<int64_t>(count);
    }
    return pending_;
  }
  void drop(size_t count) { pending_.remove_prefix(count); }

  // Moves forward in a regular file without reading.
  void seek_forward(int64_t count) {
    const auto buffered = std::min(count, static_cast<int64_t>(pending_.size()));
    drop(static_cast<size_t>(buffered));
    if (::lseek(descriptor_, count - buffered, SEEK_CUR) < 0) fail(errno);
    bytes_read_ += count - buffered;
  }

 private:
  [[noreturn]] void fail(int error_number) const {
    throw RuntimeFailure("cannot read {}: {}", name_, std::generic_category().message(error_number));
  }

  size_t fill(char* destination, size_t size) {
    if (stream_ != nullptr) {
      stream_->read(destination, static_cast<std::streamsize>(size));
      if (stream_->bad()) fail(EIO);
      return static_cast<size_t>(stream_->gcount());
    }
    while (true) {
      const ssize_t count = ::read(descriptor_, destination, size);
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) fail(errno);
    }
  }

  std::string name_;
  int descriptor_ = -1;
  std::istream* stream_ = nullptr;
  std::vector<char> buffer_ = std::vector<char>(kBufferBytes);
  std::string_view pending_;  // read and not yet used
  bool at_end_ = false;
  int64_t bytes_read_ = 0;
};

[[noreturn]] void refuse_truncated(const std::string& name, std::string_view format) {
  throw Error("expected whole {} data in {}, found that they end too early: copy the file again", format, name);
}

[[noreturn]] void refuse_damaged(const std::string& name, std::string_view format, std::string_view reason) {
  throw Error("expected whole {} data in {}, found damaged ones ({}): copy the file again", format, name, reason);
}

class Decoder {
 public:
  virtual ~Decoder() = default;
  // As ByteSource::read.
  virtual size_t read(StoredBytes& stored, char* buffer, size_t size) = 0;
};

class PlainDecoder final : public Decoder {
 public:
  size_t read(StoredBytes& stored, char* buffer, size_t size) override {
    const auto bytes = stored.peek().substr(0, size);
    std::copy(bytes.begin(), bytes.end(), buffer);
    stored.drop(bytes.size());
    return bytes.size();
  }
};

// One gzip member after the other, as `cat a.gz b.gz` makes them; zeros behind the last one are padding.
class GzipDecoder final : public Decoder {
 public:
  GzipDecoder() {
    constexpr int kLargestWindowOfGzip = 15 + 16;
    if (inflateInit2(&stream_, kLargestWindowOfGzip) != Z_OK) throw RuntimeFailure("zlib could not be started");
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  size_t read(StoredBytes& stored, char* buffer, size_t size) override {
    while (true) {
      if (!fault_.empty()) refuse_damaged(stored.name(), "gzip", fault_);
      auto input = stored.peek();
      if (member_ended_) {
        const size_t zeros = std::min(input.find_first_not_of('\0'), input.size());
        stored.drop(zeros);
        input.remove_prefix(zeros);
        if (input.empty() && zeros == 0) return 0;
        if (input.empty()) continue;
        if (stored.peek(kGzipMagic.size()).substr(0, kGzipMagic.size()) != kGzipMagic) {
          refuse_damaged(stored.name(), "gzip", "other bytes stand behind them");
        }
        input = stored.peek();
        inflateReset(&stream_);
        member_ended_ = false;
      }
      if (input.empty()) refuse_truncated(stored.name(), "gzip");
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
      stream_.avail_in = static_cast<uInt>(input.size());
      stream_.next_out = reinterpret_cast<Bytef*>(buffer);
      stream_.avail_out = static_cast<uInt>(std::min<size_t>(size, size_t{1} << 30));
      const uInt room = stream_.avail_out;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      stored.drop(input.size() - stream_.avail_in);
      member_ended_ = status == Z_STREAM_END;
      if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
        fault_ = stream_.msg != nullptr ? stream_.msg : "no reason given";
      }
      // Bytes before a fault are given before it is told.
      const size_t written = room - stream_.avail_out;
      if (written > 0) return written;
    }
  }

 private:
  z_stream stream_{};
  bool member_ended_ = false;
  std::string fault_;
};

class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder() : context_(ZSTD_createDCtx(), &ZSTD_freeDCtx) {
    if (!context_) throw RuntimeFailure("zstd could not be started: memory is full");
  }

  size_t read(StoredBytes& stored, char* buffer, size_t size) override {
    while (true) {
      const auto bytes = stored.peek();
      if (bytes.empty() && frame_ended_) return 0;
      ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
      ZSTD_outBuffer output{buffer, size, 0};
      const size_t status = ZSTD_decompressStream(context_.get(), &output, &input);
      stored.drop(input.pos);
      if (ZSTD_isError(status) != 0) refuse_damaged(stored.name(), "zstd", ZSTD_getErrorName(status));
      frame_ended_ = status == 0;
      if (output.pos > 0) return output.pos;
      if (bytes.empty() && !frame_ended_) refuse_truncated(stored.name(), "zstd");
    }
  }

 private:
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
  bool frame_ended_ = false;
};

}  // namespace

struct ByteSource::Implementation {
  template <typename Origin>
  Implementation(Origin&& origin, const std::string& name, bool regular)
      : stored(std::forward<Origin>(origin), name), is_regular(regular) {
    const auto begins_with = [&](std::string_view magic) { return stored.peek(magic.size()).starts_with(magic); };
    const auto refuse_other = [&](std::string_view ending, std::string_view format) {
      if (!name.ends_with(ending)) return;
      throw Error("expected {} data in {}, found {}: copy the file again or rename it", format, name,
                  stored.peek().empty() ? "an empty file" : "something else");
    };
    if (begins_with(kGzipMagic)) {
      decoder = std::make_unique<GzipDecoder>();
    } else if (begins_with(kZstdMagic)) {
      decoder = std::make_unique<ZstdDecoder>();
    } else {
      refuse_other(".gz", "gzip");
      refuse_other(".zst", "zstd");
      decoder = std::make_unique<PlainDecoder>();
      is_plain = true;
    }
  }

  StoredBytes stored;
  std::unique_ptr<Decoder> decoder;
  bool is_plain = false;
  bool is_regular = false;
};

namespace {

int open_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw RuntimeFailure("cannot open {}: {}", path, std::generic_category().message(errno));
  return descriptor;
}

bool is_regular_file(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

ByteSource::ByteSource(const std::string& path)
    : implementation_(std::make_unique<Implementation>(open_file(path), path, is_regular_file(path))) {}
ByteSource::ByteSource(std::istream& stream, const std::string& name)
    : implementation_(std::make_unique<Implementation>(stream, name, false)) {}
ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;

size_t ByteSource::read(char* buffer, size_t size) {
  return implementation_->decoder->read(implementation_->stored, buffer, size);
}

void ByteSource::skip(int64_t count) {
  if (implementation_->is_regular && implementation_->is_plain) return implementation_->stored.seek_forward(count);
  std::vector<char> ignored(static_cast<size_t>(std::min(count, static_cast<int64_t>(kBufferBytes))));
  while (count > 0) {
    const size_t bytes = read(ignored.data(), static_cast<size_t>(std::min(count, static_cast<int64_t>(kBufferBytes))));
    if (bytes == 0) {
      throw Error("expected {} bytes more in {}, found its end: it is not the input it was before", count,
                  implementation_->stored.name());
    }
    count -= static_cast<int64_t>(bytes);
  }
}

int64_t ByteSource::bytes_read() const { return implementation_->stored.bytes_read(); }
bool ByteSource::is_regular() const { return implementation_->is_regular; }

}  // namespace dlcm
