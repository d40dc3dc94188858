// safetensors files: exact round trips, and refusal of everything malformed.
#include "dlcm/io/safetensors.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

namespace dlcm {
namespace {

using test::message_of;
using test::overwrite;
using test::TemporaryDirectory;

SafeTensors sample() {
  SafeTensors content;
  content.tensors["double"] = at::arange(6, at::kDouble).view({2, 3}) / 7;
  content.tensors["float"] = at::arange(5, at::kFloat) / 3;
  content.tensors["bfloat16"] = (at::arange(4, at::kFloat) / 3).to(at::kBFloat16);
  content.tensors["half"] = (at::arange(3, at::kFloat) / 3).to(at::kHalf);
  content.tensors["long"] = at::arange(-2, 2, at::kLong);
  content.tensors["int"] = at::scalar_tensor(-7, at::kInt);
  content.tensors["byte"] = at::arange(250, 255, at::kByte);
  content.tensors["bool"] = at::arange(3, at::kLong) == 1;
  content.tensors["empty"] = at::empty({0, 4});
  content.metadata = {{"format", "pt"}, {"note", "\"quoted\"\n"}};
  return content;
}

// A file with the given header and `data_bytes` zero bytes behind it.
std::string file_text(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof(length));
  return text + header + std::string(data_bytes, '\0');
}

void expect_refused(const std::string& header, size_t data_bytes, const std::string& why) {
  const TemporaryDirectory directory;
  overwrite(directory / "file", file_text(header, data_bytes));
  const std::string text = message_of<Error>([&] { load_safetensors(directory / "file"); });
  EXPECT_NE(text.find(why), std::string::npos) << text;
  EXPECT_NE(text.find(directory / "file"), std::string::npos) << text;
}

TEST(SafeTensors, LoadGivesWhatSaveTook) {
  const TemporaryDirectory directory;
  const auto content = sample();
  save_safetensors(directory / "file", content);
  const auto loaded = load_safetensors(directory / "file");
  EXPECT_EQ(loaded.metadata, content.metadata);
  ASSERT_EQ(loaded.tensors.size(), content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    const auto& other = loaded.tensors.at(name);
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(other, tensor)) << name;
  }
}

TEST(SafeTensors, ViewsAreSavedByTheirValues) {
  const TemporaryDirectory directory;
  const auto matrix = at::arange(12, at::kFloat).view({3, 4});
  save_safetensors(directory / "file", {{{"transposed", matrix.t()}, {"column", matrix.select(1, 2)}}, {}});
  const auto loaded = load_safetensors(directory / "file");
  EXPECT_TRUE(at::equal(loaded.tensors.at("transposed"), matrix.t()));
  EXPECT_TRUE(at::equal(loaded.tensors.at("column"), matrix.select(1, 2)));
}

TEST(SafeTensors, EqualContentGivesEqualAlignedFiles) {
  const TemporaryDirectory directory;
  save_safetensors(directory / "first", sample());
  save_safetensors(directory / "second", sample());
  const std::string text = read_file(directory / "first");
  EXPECT_EQ(text, read_file(directory / "second"));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), sizeof(header_bytes));
  EXPECT_EQ(header_bytes % 8, 0u);
  // Doubles come first although "byte" is the first name.
  double second_value = 0;
  std::memcpy(&second_value, text.data() + 8 + header_bytes + 8, sizeof(second_value));
  EXPECT_EQ(second_value, 1.0 / 7);
}

TEST(SafeTensors, NothingIsAlsoAFile) {
  const TemporaryDirectory directory;
  save_safetensors(directory / "file", {});
  EXPECT_TRUE(load_safetensors(directory / "file").tensors.empty());
}

TEST(SafeTensors, EveryCutFileIsRefused) {
  const TemporaryDirectory directory;
  save_safetensors(directory / "whole", sample());
  const std::string text = read_file(directory / "whole");
  for (size_t length = 0; length < text.size(); ++length) {
    overwrite(directory / "cut", text.substr(0, length));
    EXPECT_THROW(load_safetensors(directory / "cut"), Error) << length;
  }
  overwrite(directory / "longer", text + "x");
  EXPECT_THROW(load_safetensors(directory / "longer"), Error);
}

TEST(SafeTensors, FlippedHeaderByteIsAnErrorOrALoadOfTheSameSize) {
  const TemporaryDirectory directory;
  save_safetensors(directory / "whole", sample());
  const std::string text = read_file(directory / "whole");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), sizeof(header_bytes));
  const size_t data_bytes = text.size() - 8 - header_bytes;
  int64_t num_refused = 0;
  for (size_t place = 0; place < 8 + header_bytes; ++place) {
    for (const int mask : {0x01, 0x02, 0x10, 0x20, 0x80, 0xff}) {
      std::string flipped = text;
      flipped[place] = static_cast<char>(flipped[place] ^ mask);
      overwrite(directory / "flipped", flipped);
      try {
        size_t loaded_bytes = 0;
        for (const auto& [name, tensor] : load_safetensors(directory / "flipped").tensors) {
          loaded_bytes += tensor.nbytes();
        }
        EXPECT_EQ(loaded_bytes, data_bytes) << place;
      } catch (const Error&) {
        ++num_refused;
      }
    }
  }
  EXPECT_GT(num_refused, static_cast<int64_t>(header_bytes));
}

TEST(SafeTensors, HeaderLengthBeyondTheFileIsRefused) {
  const TemporaryDirectory directory;
  overwrite(directory / "file", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
  EXPECT_THROW(load_safetensors(directory / "file"), Error);
}

TEST(SafeTensors, MalformedHeadersAreRefused) {
  const auto tensor = [](const std::string& type, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + type + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const TemporaryDirectory directory;
  overwrite(directory / "file", file_text(tensor(R"("F32")", "[2]", "[0,8]") + "   ", 8));
  EXPECT_EQ(load_safetensors(directory / "file").tensors.at("a").numel(), 2);

  expect_refused("", 0, "no JSON");
  expect_refused("[]", 0, "no JSON object");
  expect_refused("{} x", 0, "no JSON");
  expect_refused("{}", 1, "take 0 bytes");
  expect_refused(R"({"a":7})", 0, "\"dtype\"");
  expect_refused(R"({"a":{"dtype":"F32","shape":[0]}})", 0, "\"data_offsets\"");
  expect_refused(R"({"__metadata__":{"a":1}})", 0, "expected text");
  expect_refused(R"({"__metadata__":[]})", 0, "__metadata__");
  expect_refused(tensor(R"("F31")", "[2]", "[0,8]"), 8, "element type");
  expect_refused(tensor("4", "[2]", "[0,8]"), 8, "element type");
  expect_refused(tensor(R"("F32")", "2", "[0,8]"), 8, "list of at most");
  expect_refused(tensor(R"("F32")", "[-2]", "[0,8]"), 8, "non-negative");
  expect_refused(tensor(R"("F32")", "[2.0]", "[0,8]"), 8, "non-negative");
  expect_refused(tensor(R"("F32")", "[18446744073709551615]", "[0,8]"), 8, "non-negative");
  expect_refused(tensor(R"("F32")", "[4611686018427387904,4]", "[0,8]"), 8, "too large");
  expect_refused(tensor(R"("F32")", "[4611686018427387904,0]", "[0,0]"), 0, "too large");
  expect_refused(tensor(R"("F32")", "[3]", "[0,8]"), 8, "takes 12 bytes");
  expect_refused(tensor(R"("F32")", "[2]", "[8,0]"), 8, "takes 8 bytes");
  expect_refused(tensor(R"("F32")", "[2]", "[0]"), 8, "two data_offsets");
  expect_refused(tensor(R"("F32")", "[2]", "[4,12]"), 12, "begins at 4");
  expect_refused(tensor(R"("F32")", "[2]", "[0,8]"), 7, "the file has 7");
  expect_refused(tensor(R"("F32")", "[[[[2]]]]", "[0,8]"), 8, "nested");
  expect_refused(std::string(100000, '['), 0, "nested");
  expect_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                 R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                 6, "begins at 2");
}

TEST(SafeTensors, TruthValueTwoIsRefused) {
  const TemporaryDirectory directory;
  std::string text = file_text(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  text.back() = 2;
  overwrite(directory / "file", text);
  EXPECT_NE(message_of<Error>([&] { load_safetensors(directory / "file"); }).find("truth value"), std::string::npos);
}

TEST(MappedSafeTensors, HoldTheBytesOfTheFile) {
  const TemporaryDirectory directory;
  const auto content = sample();
  save_safetensors(directory / "file", content);
  const MappedSafeTensors mapped(directory / "file");
  EXPECT_EQ(mapped.metadata(), content.metadata);
  const auto views = mapped.views();
  ASSERT_EQ(views.tensors.size(), content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    EXPECT_TRUE(at::equal(views.tensors.at(name), tensor)) << name;
    EXPECT_EQ(mapped.tensors().at(name).bytes.size(), tensor.nbytes()) << name;
  }
}

TEST(MappedSafeTensors, EveryCutFileIsRefused) {
  const TemporaryDirectory directory;
  save_safetensors(directory / "whole", sample());
  const std::string text = read_file(directory / "whole");
  for (size_t length = 0; length < text.size(); ++length) {
    overwrite(directory / "cut", text.substr(0, length));
    EXPECT_THROW(MappedSafeTensors(directory / "cut"), Error) << length;
  }
  EXPECT_THROW(MappedSafeTensors(directory / "missing"), Error);
  EXPECT_THROW(MappedSafeTensors(directory.path()), Error);
}

TEST(SafeTensorsWriter, TakesPiecesOfAnySizeAndAligns) {
  const TemporaryDirectory directory;
  const auto bytes = at::arange(300, at::kByte);
  const auto floats = at::arange(7, at::kFloat);
  {
    SafeTensorsWriter writer(directory / "file", {{"note", "x"}}, {{"z", at::kByte, {300}}, {"a", at::kFloat, {7}}},
                             64);
    const auto append = [&](const at::Tensor& tensor, size_t begin, size_t end) {
      writer.append({static_cast<const char*>(tensor.const_data_ptr()) + begin, end - begin});
    };
    append(bytes, 0, 1);
    append(bytes, 1, 300);
    append(floats, 0, 28);
    EXPECT_FALSE(std::filesystem::exists(directory / "file"));
    writer.close();
  }
  const auto loaded = load_safetensors(directory / "file");
  EXPECT_TRUE(at::equal(loaded.tensors.at("z"), bytes));
  EXPECT_TRUE(at::equal(loaded.tensors.at("a"), floats));
  const std::string text = read_file(directory / "file");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), sizeof(header_bytes));
  EXPECT_EQ((8 + header_bytes) % 64, 0u);
  EXPECT_EQ(text[8 + header_bytes + 5], 5);
}

TEST(SafeTensorsWriter, WithoutAllBytesLeavesNoFile) {
  const TemporaryDirectory directory;
  {
    SafeTensorsWriter writer(directory / "file", {}, {{"a", at::kByte, {3}}}, 64);
    writer.append("ab");
    EXPECT_THROW(writer.close(), c10::Error);
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "file"));
  EXPECT_FALSE(std::filesystem::exists(directory / "file.partial"));
}

}  // namespace
}  // namespace dlcm
