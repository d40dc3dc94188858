// Facts about the order of windows that training reads.
#include "dlcm/data/build.h"
#include "dlcm/data/shuffled_windows.h"
#include "tests/tokenizer/training_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace dlcm {
namespace {

constexpr int64_t kContext = 8;

Dataset numbered_documents(const testing::TemporaryFolder& folder) {
  std::string text;
  for (int index = 0; index < 60; ++index) text += "document " + std::to_string(index) + "\n<|endoftext|>\n";
  std::istringstream none;
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write("in.txt", text)},
              .validation_fraction = 0,
              .output = folder / "data"},
             none);
  return Dataset(folder / "data", Split::train);
}

// One window's tokens, then its targets, then the ends of its pieces.
using Window = std::vector<int64_t>;

Window contents_of(const Batch& batch) {
  Window window;
  for (const auto& tensor : {batch.token_T, batch.target_T}) {
    for (int64_t row = 0; row < kContext; ++row) window.push_back(tensor[row].item<int64_t>());
  }
  window.insert(window.end(), batch.documents.offsets.begin() + 1, batch.documents.offsets.end());
  return window;
}

TEST(ShuffledWindows, ShowTheWindowsOfTheStreamOnceInEachBlockInAnotherOrder) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const TokenStream stream(dataset, 4);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  const int64_t block = dataset.tokens() / kContext;
  std::vector<int64_t> places_of_first_block;
  for (int64_t number = 0; number < 3; ++number) {
    std::vector<Window> plain, found;
    for (int64_t position = number * block; position < (number + 1) * block; ++position) {
      plain.push_back(contents_of(stream.read(position * kContext, kContext, kContext)));
      found.push_back(contents_of(shuffled.window(position)));
    }
    EXPECT_NE(found, plain);
    std::vector<int64_t> places;
    for (const auto& window : found) places.push_back(std::find(plain.begin(), plain.end(), window) - plain.begin());
    if (number == 0) places_of_first_block = places;
    if (number > 0) {
      EXPECT_NE(places, places_of_first_block) << "blocks repeat an order";
    }
    std::sort(plain.begin(), plain.end());
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, plain);
  }
}

TEST(ShuffledWindows, ArePureInSeedAndPosition) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const ShuffledWindows shuffled(dataset, 4, kContext), other(dataset, 5, kContext);
  std::vector<Window> all, of_other;
  for (int64_t position = 0; position < 300; ++position) {  // several blocks
    all.push_back(contents_of(shuffled.window(position)));
    of_other.push_back(contents_of(other.window(position)));
  }
  EXPECT_NE(all, of_other);
  const Dataset reopened(folder / "data", Split::train);
  const ShuffledWindows resumed(reopened, 4, kContext);
  for (int64_t position = 299; position >= 0; --position) {
    EXPECT_EQ(contents_of(resumed.window(position)), all[static_cast<size_t>(position)]);
  }
}

TEST(ShuffledWindows, CountTheTargets) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  for (int64_t position = 0; position < 300; ++position) {
    EXPECT_EQ(shuffled.targets(position), shuffled.window(position).target_T.ge(0).sum().item<int64_t>());
  }
}

}  // namespace
}  // namespace dlcm
