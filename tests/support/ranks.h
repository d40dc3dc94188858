// Ranks that are threads of the test.
#pragma once

#include "dlcm/dist/communicator.h"

#include <ATen/Parallel.h>

#include <barrier>
#include <functional>
#include <thread>
#include <vector>

namespace dlcm::test {

class Ranks {
 public:
  explicit Ranks(int64_t size) : size_(size), given_(static_cast<size_t>(size)), barrier_(size) {}

  class Member final : public Communicator {
   public:
    Member(Ranks& ranks, int64_t rank) : ranks_(ranks), rank_(rank) {}
    int64_t rank() const override { return rank_; }
    int64_t world_size() const override { return ranks_.size_; }
    std::string name_of(int64_t rank) const override { return "rank " + std::to_string(rank) + " on host test"; }

    Pending reduce_scatter_sum(const at::Tensor& parts) override {
      exchange(parts, [&](const std::vector<at::Tensor>& all) {
        auto sum = part(all[0], rank_).clone();
        for (int64_t other = 1; other < ranks_.size_; ++other) sum.add_(part(all[static_cast<size_t>(other)], rank_));
        parts.detach().fill_(-7);  // undefined means undefined
        part(parts, rank_).copy_(sum);
      });
      return std::make_shared<Done>();
    }
    Pending all_gather(const at::Tensor& parts) override {
      exchange(parts, [&](const std::vector<at::Tensor>& all) {
        for (int64_t other = 0; other < ranks_.size_; ++other) {
          part(parts, other).copy_(part(all[static_cast<size_t>(other)], other));
        }
      });
      return std::make_shared<Done>();
    }

   private:
    struct Done final : PendingCollective {
      void wait() override {}
    };
    at::Tensor part(const at::Tensor& parts, int64_t rank) const {
      const int64_t size = parts.numel() / ranks_.size_;
      return parts.detach().view({-1}).narrow(0, rank * size, size);
    }
    void exchange(const at::Tensor& parts, const std::function<void(const std::vector<at::Tensor>&)>& use) {
      const at::NoGradGuard no_gradient;
      TORCH_CHECK(parts.is_contiguous() && parts.numel() % ranks_.size_ == 0, "unequal parts ", parts.sizes());
      ranks_.given_[static_cast<size_t>(rank_)] = parts.detach().clone();
      ranks_.barrier_.arrive_and_wait();
      for (const auto& other : ranks_.given_) TORCH_CHECK(other.numel() == parts.numel(), "another collective");
      use(ranks_.given_);
      ranks_.barrier_.arrive_and_wait();
    }
    Ranks& ranks_;
    int64_t rank_;
  };

 private:
  int64_t size_;
  std::vector<at::Tensor> given_;
  std::barrier<> barrier_;
};

// body(communicator) on as many ranks.
inline void on_ranks(int64_t size, const std::function<void(Communicator&)>& body) {
  if (size == 1) {
    SingleProcess communicator;
    return body(communicator);
  }
  Ranks ranks(size);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      at::get_num_threads();  // its first call takes over the process's number, a later one would undo the next line
      at::set_num_threads(1);
      Ranks::Member communicator(ranks, rank);
      body(communicator);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace dlcm::test
