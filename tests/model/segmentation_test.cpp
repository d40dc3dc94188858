// Segmentation against what it is defined to be, written out.
#include "dlcm/model/segmentation.h"

#include "tests/model/stages.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

using test::flags;
using test::tensor_of;

TEST(Segmentation, IsWhatItsDefinitionSays) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<int64_t> lengths;
    for (uint64_t i = 0; i < 1 + random() % 4; ++i) lengths.push_back(static_cast<int64_t>(random() % 12));
    const auto documents = test::random_batch(lengths, 4, random).documents;
    const auto boundary_T = test::random_boundaries(documents, random);
    const auto boundary = flags(boundary_T);
    const auto actual = Segmentation::from(boundary_T, documents);

    std::vector<int64_t> start, length, place, begin, end, closed_begin, closed_end, closed_reader, offsets{0};
    for (int64_t document = 0; document < documents.size(); ++document) {
      const int64_t first = documents.offsets[document], last = documents.offsets[document + 1];
      for (int64_t t = first; t < last; ++t) {
        const int64_t j = std::count(boundary.begin() + first, boundary.begin() + t + 1, true);  // j(t) = sum of b_i
        begin.push_back(offsets.back());
        end.push_back(offsets.back() + j);
        place.push_back(offsets.back() + j - 1);
        if (!boundary[t]) continue;
        int64_t next = t + 1;
        while (next < last && !boundary[next]) ++next;
        start.push_back(t);
        length.push_back(next - t);
        if (next == last) continue;  // a document's last concept is never needed
        closed_begin.push_back(t);
        closed_end.push_back(next);
        closed_reader.push_back(place.back() + 1);
      }
      offsets.push_back(static_cast<int64_t>(start.size()));
    }
    EXPECT_EQ(actual.places.offsets, offsets);
    EXPECT_EQ(actual.concepts(), static_cast<int64_t>(start.size()));
    EXPECT_TRUE(at::equal(actual.start_S, tensor_of(start)));
    EXPECT_TRUE(at::equal(actual.length_S, tensor_of(length)));
    EXPECT_TRUE(at::equal(actual.place_T, tensor_of(place)));
    EXPECT_TRUE(at::equal(actual.visible_begin_T, tensor_of(begin)));
    EXPECT_TRUE(at::equal(actual.visible_end_T, tensor_of(end)));
    EXPECT_TRUE(at::equal(actual.closed_begin_K, tensor_of(closed_begin)));
    EXPECT_TRUE(at::equal(actual.closed_end_K, tensor_of(closed_end)));
    EXPECT_TRUE(at::equal(actual.closed_reader_K, tensor_of(closed_reader)));
  }
}

TEST(Segmentation, DocumentWithoutAFirstBoundaryThrows) {
  const auto documents = Documents::from_offsets({0, 2, 4});
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 0, 1}).to(at::kBool), documents), c10::Error);
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 1}).to(at::kBool), documents), c10::Error);
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 1, 0}), documents), c10::Error);
}

}  // namespace
}  // namespace dlcm
