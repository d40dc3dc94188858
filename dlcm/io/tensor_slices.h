// Safetensors files that several processes fill, each with the slices of tensors that it has, and from which each reads
// its own.
#pragma once

#include "dlcm/io/safetensors.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dlcm {

struct TensorShape {
  std::vector<int64_t> sizes;
  at::ScalarType type = at::kFloat;
};

// Elements [first, first + values.numel()) of a flattened tensor.
struct TensorSlice {
  std::string name;
  int64_t first = 0;
  at::Tensor values;
};

// One process makes the file, with zeros in every place, then each writes the slices that it has. Filled, it is the
// file that save_safetensors writes. Both sync what they have written and throw RuntimeFailure where the disk does not
// take it.
void create_safetensors(const std::string& path, const std::map<std::string, TensorShape>& shapes);
void write_slices(const std::string& path, const std::vector<TensorSlice>& slices);

// Elements [first, first + count) of a tensor of the file, flat and owned.
at::Tensor read_slice(const MappedSafeTensors& file, const std::string& name, int64_t first, int64_t count);

}  // namespace dlcm
