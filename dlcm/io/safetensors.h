// Tensors by name in a safetensors file: an 8-byte little-endian header length, a JSON header, raw data.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

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

}  // namespace dlcm
