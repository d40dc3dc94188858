// Files that survive a crash: whole reads with a bound, writes that are synced and appear at once or not at all, and
// the lock of a run directory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dlcm {

inline constexpr int64_t kLargestReadBytes = int64_t{1} << 30;

// The file's bytes. Throws Error where there is no such file or it is larger than `largest_bytes`, RuntimeFailure where
// it cannot be read.
std::string read_file(const std::string& path, int64_t largest_bytes = kLargestReadBytes);

// Replaces `path` by `content`, durably: after a crash it holds the old content or all of the new one.
// Throws RuntimeFailure naming the path and the system's reason (disk full) and leaves the old content.
void write_file_synced(const std::string& path, std::string_view content);

// Makes the entries of a directory durable. Throws RuntimeFailure.
void sync_directory(const std::string& path);

// Renames a file or a directory durably; both names have the same parent. An existing directory `to` must be empty.
// Throws RuntimeFailure.
void rename_synced(const std::string& from, const std::string& to);

// A file read at given offsets; its size is taken once, when it is opened.
class InputFile {
 public:
  // Throws Error where there is no such file or `path` is no regular file, RuntimeFailure where it cannot be opened.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int64_t bytes() const { return bytes_; }
  // Fills `length` bytes of `buffer`. Throws RuntimeFailure where the file has become shorter or cannot be read.
  void read(int64_t offset, void* buffer, int64_t length) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

// A file written in pieces. The pieces go to PATH.partial, which takes the name PATH in close(); without close() the
// destructor removes it. What is not a regular file (/dev/null, a pipe) is written in place.
class OutputFile {
 public:
  // Throws RuntimeFailure where the file cannot be created.
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Throws RuntimeFailure where the disk does not take all bytes.
  void append(std::string_view bytes);
  // Syncs the file, gives it its name and syncs its directory. Throws RuntimeFailure.
  void close();

 private:
  std::string path_;
  std::string written_path_;
  int descriptor_ = -1;
};

// A file that is written at given offsets, by one process or by several at once, each at other places.
class PlacedFile {
 public:
  // Creates the file where there is none. Throws RuntimeFailure where it cannot be opened.
  explicit PlacedFile(std::string path);
  ~PlacedFile();
  PlacedFile(const PlacedFile&) = delete;
  PlacedFile& operator=(const PlacedFile&) = delete;

  // Each throws RuntimeFailure where the disk does not take it.
  void write(int64_t offset, const void* buffer, int64_t length);
  void extend(int64_t bytes);  // with zeros
  void close();                // waits until all is on the disk

 private:
  std::string path_;
  int descriptor_ = -1;
};

// A file that only grows, one whole record at a time; each record is handed to the system at once, unsynced.
class AppendFile {
 public:
  // Creates the file where there is none. Throws RuntimeFailure.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // Throws RuntimeFailure where the disk does not take all bytes.
  void append(std::string_view record);

 private:
  std::string path_;
  int descriptor_ = -1;
};

// A file that grows through a buffer and can be gone on with from a length that was synced, after a crash too.
class ResumableFile {
 public:
  // Creates the file, or cuts the one that is there to `bytes`. Throws Error where it is shorter than that,
  // RuntimeFailure where it cannot be opened.
  ResumableFile(std::string path, int64_t bytes);
  ~ResumableFile();
  ResumableFile(const ResumableFile&) = delete;
  ResumableFile& operator=(const ResumableFile&) = delete;

  // Bytes so far, those in the buffer too.
  int64_t bytes() const { return written_bytes_ + static_cast<int64_t>(buffer_.size()); }
  // Each throws RuntimeFailure where the disk does not take all bytes.
  void append(std::string_view bytes);
  void overwrite(int64_t offset, std::string_view bytes);  // of bytes that are there
  void flush();                                            // hands the buffer to the system
  void sync();                                             // flushes and waits until all is on the disk

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t written_bytes_ = 0;
  std::string buffer_;
};

// The right to write in a directory (a run's, a data set's), held until this object or its process ends, however it
// ends.
class RunLock {
 public:
  // Creates the directory where there is none and locks RUN/lock. Throws Error where another process holds the lock,
  // naming it and the `work` it is at ("training"), and RuntimeFailure where the file system refuses.
  explicit RunLock(const std::string& run, std::string_view work = "training");
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace dlcm
