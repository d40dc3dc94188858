#include "dlcm/model/batch.h"

#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

Batch batch_of(const std::vector<int64_t>& lengths) {
  std::mt19937_64 random(5);
  auto batch = test::random_batch(lengths, 64, random);
  batch.index_T = at::arange(1000, 1000 + batch.tokens(), at::kLong);
  return batch;
}

std::vector<int64_t> sizes(const std::vector<Batch>& parts) {
  std::vector<int64_t> tokens;
  for (const auto& part : parts) tokens.push_back(part.tokens());
  return tokens;
}

TEST(BatchParts, AreWholeDocumentsInOrder) {
  const auto batch = batch_of({9, 30, 1, 24, 32, 5, 5});
  for (int64_t count = 1; count <= 9; ++count) {
    const auto parts = batch.parts(count);
    EXPECT_LE(static_cast<int64_t>(parts.size()), count);
    int64_t row = 0, documents = 0;
    for (const auto& part : parts) {
      EXPECT_TRUE(at::equal(part.index_T, batch.index_T.narrow(0, row, part.tokens())));
      EXPECT_TRUE(at::equal(part.token_T, batch.token_T.narrow(0, row, part.tokens())));
      EXPECT_TRUE(at::equal(part.target_T, batch.target_T.narrow(0, row, part.tokens())));
      for (const int64_t offset : part.documents.offsets) {
        EXPECT_EQ(offset + row, batch.documents.offsets[static_cast<size_t>(documents++)]);
      }
      --documents;
      row += part.tokens();
    }
    EXPECT_EQ(row, batch.tokens());
  }
}

TEST(BatchParts, HoldAboutAsManyTokensEach) {
  EXPECT_EQ(sizes(batch_of({10, 10, 10, 10}).parts(2)), (std::vector<int64_t>{20, 20}));
  EXPECT_EQ(sizes(batch_of({10, 10, 10, 10}).parts(3)), (std::vector<int64_t>{10, 20, 10}));
  EXPECT_EQ(sizes(batch_of({1, 1, 1, 97}).parts(2)), (std::vector<int64_t>{3, 97}));
  EXPECT_EQ(sizes(batch_of({40}).parts(4)), (std::vector<int64_t>{40}));
  EXPECT_EQ(sizes(batch_of({97, 1, 1, 1}).parts(4)), (std::vector<int64_t>{97, 3}));
}

}  // namespace
}  // namespace dlcm
