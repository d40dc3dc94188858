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

std::vector<Window> windows_of(const Batch& batch) {
  std::vector<Window> windows;
  for (int64_t begin = 0; begin < batch.tokens(); begin += kContext) {
    Window window;
    for (int64_t row = begin; row < begin + kContext; ++row) window.push_back(batch.token_T[row].item<int64_t>());
    for (int64_t row = begin; row < begin + kContext; ++row) window.push_back(batch.target_T[row].item<int64_t>());
    for (const int64_t end : batch.documents.offsets) {
      if (end > begin && end <= begin + kContext) window.push_back(end - begin);
    }
    windows.push_back(window);
  }
  return windows;
}

TEST(ShuffledWindows, ShowTheWindowsOfTheStreamOnceInEachBlockInAnotherOrder) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const TokenStream stream(dataset, 4);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  const int64_t block = dataset.tokens() / kContext * kContext;
  std::vector<int64_t> places_of_first_block;
  for (int64_t number = 0; number < 3; ++number) {
    auto plain = windows_of(stream.read(number * block, block, kContext));
    auto found = windows_of(shuffled.read(number * block, block));
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

TEST(ShuffledWindows, ArePureInSeedAndPositionWhateverTheMicroBatches) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  const int64_t count = 300 * kContext;  // several blocks
  const auto whole = windows_of(shuffled.read(0, count));
  const Dataset reopened(folder / "data", Split::train);
  const ShuffledWindows resumed(reopened, 4, kContext);
  for (int64_t window = 299; window >= 0; --window) {
    EXPECT_EQ(windows_of(resumed.read(window * kContext, kContext)).at(0), whole[static_cast<size_t>(window)]);
  }
  EXPECT_NE(windows_of(ShuffledWindows(dataset, 5, kContext).read(0, count)), whole);
}

TEST(ShuffledWindows, CountTheTargets) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  for (int64_t first = 0; first < 200; first += 17) {
    const auto target = shuffled.read(first * kContext, 30 * kContext).target_T;
    EXPECT_EQ(shuffled.targets(first * kContext, 30 * kContext), target.ge(0).sum().item<int64_t>());
  }
}

TEST(ShuffledWindows, RefuseHalfWindows) {
  testing::TemporaryFolder folder;
  const Dataset dataset = numbered_documents(folder);
  const ShuffledWindows shuffled(dataset, 4, kContext);
  EXPECT_THROW(shuffled.read(3, kContext), c10::Error);
  EXPECT_THROW(shuffled.read(0, kContext + 1), c10::Error);
  EXPECT_THROW(shuffled.read(0, 0), c10::Error);
}

}  // namespace
}  // namespace dlcm
