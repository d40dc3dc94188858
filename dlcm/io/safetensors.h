// Tensors by name in a safetensors file: an 8-byte little-endian header length, a JSON header, raw data.
#pragma once

#include "dlcm/io/files.h"
#include "dlcm/io/mapped_file.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

struct SafeTensors {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Writes and syncs `path`. Supports float64/32, bfloat16, float16, int64/32, uint8 and bool.
// Throws RuntimeFailure where the disk does not take it.
void save_safetensors(const std::string& path, const SafeTensors& content);

// Reads `path` into owned CPU tensors. Every length is checked against the file before anything is allocated.
// Throws Error naming the file and what is wrong with it.
SafeTensors load_safetensors(const std::string& path);

// A file as it lies on the disk, in the memory of whoever reads it, for as long as this object lives.
class MappedSafeTensors {
 public:
  struct Tensor {
    at::ScalarType type = at::kFloat;
    std::vector<int64_t> shape;
    std::span<const std::byte> bytes;
  };

  // Throws Error as load_safetensors does. Nothing of the data is read.
  explicit MappedSafeTensors(const std::string& path);

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Tensors that look into the file: not to be written to, and gone with this object.
  SafeTensors views() const;

 private:
  MappedFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes a file tensor by tensor, so that no more than one of them is ever in memory.
class SafeTensorsWriter {
 public:
  struct Tensor {
    std::string name;
    at::ScalarType type = at::kFloat;
    std::vector<int64_t> shape;

    int64_t bytes() const;
  };

  // The tensors come in this order. The first begins at a multiple of `alignment` bytes (a power of 2, at least 8) from
  // the file's beginning, each further one where the one before it ends. Throws RuntimeFailure.
  SafeTensorsWriter(const std::string& path, const std::map<std::string, std::string>& metadata,
                    const std::vector<Tensor>& tensors, int64_t alignment);

  // The next bytes of the tensors, in pieces of any size. Throws RuntimeFailure where the disk does not take them.
  void append(std::string_view bytes);
  // After all bytes: the file is whole and has its name. Throws RuntimeFailure.
  void close();

 private:
  OutputFile file_;
  int64_t missing_bytes_ = 0;
};

}  // namespace dlcm
