// A file filled in slices is the file that is written at once.
#include "dlcm/io/tensor_slices.h"

#include "dlcm/io/files.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace dlcm {
namespace {

using test::TemporaryDirectory;

TEST(TensorSlices, SlicesInAnyOrderMakeTheFileThatIsWrittenAtOnce) {
  const TemporaryDirectory directory;
  at::manual_seed(4);
  SafeTensors content;
  content.tensors = {{"b", at::randn({7, 5})},
                     {"a", at::randn({3}, at::kDouble)},
                     {"n", at::arange(6, at::kLong)},
                     {"empty", at::zeros({0, 4})}};
  save_safetensors(directory / "whole", content);
  std::map<std::string, TensorShape> shapes;
  std::vector<TensorSlice> slices;
  for (const auto& [name, tensor] : content.tensors) {
    shapes[name] = {tensor.sizes().vec(), tensor.scalar_type()};
    const auto flat = tensor.reshape({-1});
    for (int64_t first = 0; first < flat.numel(); first += 4) {
      slices.push_back({name, first, flat.narrow(0, first, std::min<int64_t>(4, flat.numel() - first))});
    }
  }
  create_safetensors(directory / "slices", shapes);
  EXPECT_EQ(load_safetensors(directory / "slices").tensors.at("b").abs().sum().item<double>(), 0.0);
  for (size_t i = slices.size(); i-- > 0;) write_slices(directory / "slices", {slices[i]});
  EXPECT_TRUE(read_file(directory / "slices") == read_file(directory / "whole"));

  const MappedSafeTensors file(directory / "whole");
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.tensors().at("b").shape, (std::vector<int64_t>{7, 5}));
  EXPECT_TRUE(at::equal(read_slice(file, "b", 0, 35).view({7, 5}), content.tensors.at("b")));
  EXPECT_TRUE(at::equal(read_slice(file, "b", 8, 9), content.tensors.at("b").reshape({-1}).narrow(0, 8, 9)));
  EXPECT_THROW(read_slice(file, "b", 30, 6), c10::Error);
  EXPECT_THROW(write_slices(directory / "slices", {{"a", 2, at::zeros({2}, at::kDouble)}}), c10::Error);
  EXPECT_THROW(write_slices(directory / "slices", {{"a", 0, at::zeros({2})}}), c10::Error);
}

}  // namespace
}  // namespace dlcm
