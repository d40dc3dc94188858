// What collectives are made of, and how ranks refuse together.
#include "dlcm/dist/agreement.h"

#include "tests/support/ranks.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dlcm {
namespace {

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Communicator, SumsTensorsOfAnySizeInRankOrder) {
  for (const int64_t size : {1, 2, 3, 5}) {
    test::on_ranks(size, [&](Communicator& communicator) {
      const auto value_of = [](int64_t rank, int64_t i) {
        return static_cast<float>(std::exp(static_cast<double>(7 * rank + i)));
      };
      std::vector<at::Tensor> tensors{at::empty({3, 5}), at::empty({1}), at::empty({0}), at::empty({16})};
      for (auto& tensor : tensors) {
        for (int64_t i = 0; i < tensor.numel(); ++i) tensor.view({-1})[i] = value_of(communicator.rank(), i);
      }
      communicator.all_reduce_sum(tensors);
      for (const auto& tensor : tensors) {
        for (int64_t i = 0; i < tensor.numel(); ++i) {
          float expected = value_of(0, i);
          for (int64_t rank = 1; rank < size; ++rank) expected += value_of(rank, i);
          ASSERT_EQ(tensor.view({-1})[i].item<float>(), expected);
        }
      }
    });
  }
}

TEST(Communicator, GathersValuesAndTextsAndVotes) {
  for (const int64_t size : {1, 2, 4}) {
    test::on_ranks(size, [&](Communicator& communicator) {
      const auto rank = static_cast<double>(communicator.rank());
      const auto values = communicator.all_gather_values({rank, -rank});
      ASSERT_EQ(values.sizes(), (std::vector<int64_t>{size, 2}));
      EXPECT_EQ(values[size - 1][1].item<double>(), static_cast<double>(1 - size));
      const auto texts =
          communicator.all_gather_text(std::string(static_cast<size_t>(communicator.rank()), '\0') + "x");
      for (int64_t i = 0; i < size; ++i) {
        EXPECT_EQ(texts[static_cast<size_t>(i)], std::string(static_cast<size_t>(i), '\0') + "x");
      }
      EXPECT_TRUE(communicator.any(communicator.rank() == size - 1));
      EXPECT_FALSE(communicator.any(false));
      auto tensor = at::full({3}, rank + 5);
      communicator.broadcast({tensor});
      EXPECT_TRUE(at::equal(tensor, at::full({3}, 5.0)));
    });
  }
}

TEST(Agreement, AnErrorOfOneRankIsThrownOnAllWithItsName) {
  test::on_ranks(3, [&](Communicator& communicator) {
    try {
      on_every_rank(communicator, [&] {
        if (communicator.rank() == 2) throw RuntimeFailure("the disk is full");
      });
      FAIL() << "nothing was thrown";
    } catch (const AgreedError& error) {
      EXPECT_EQ(std::string(error.what()), "rank 2 on host test: the disk is full");
      EXPECT_EQ(error.exit_status(), 1);
    }
    EXPECT_EQ(message_of([&] { on_every_rank(communicator, [] { throw Error("no such file"); }); }), "no such file");
    on_every_rank(communicator, [] {});
  });
}

TEST(Agreement, ASingleRankThrowsItsOwnError) {
  SingleProcess communicator;
  EXPECT_THROW(on_every_rank(communicator, [] { throw RuntimeFailure("broken"); }), RuntimeFailure);
}

TEST(Agreement, NamesTheRankAndTheValueThatDiffer) {
  test::on_ranks(4, [&](Communicator& communicator) {
    const bool odd = communicator.rank() == 3;
    const auto message = message_of([&] {
      require_equal(communicator, {{"train.steps", "100"}, {"train.seed", odd ? "7" : "1"}, {"mup", odd ? "1" : "2"}});
    });
    EXPECT_NE(message.find("rank 3 on host test has train.seed 7, where rank 0 on host test has 1"), std::string::npos)
        << message;
    EXPECT_EQ(message_of([&] { require_equal(communicator, {{"train.steps", "100"}}); }), "");
    EXPECT_NE(message_of([&] {
                require_equal(communicator, odd ? NamedValues{} : NamedValues{{"the data", "abc"}});
              }).find("rank 3 on host test has the data nothing"),
              std::string::npos);
  });
}

}  // namespace
}  // namespace dlcm
