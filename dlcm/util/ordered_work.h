// Work on a stream of items by many threads, taken up and handed on in the items' order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace dlcm {

// produce(item) fills the next item and returns false where there is none left; transform(item) does the work, on
// `num_threads` threads; consume(item) gets the items in their order, on the calling thread. Another thread produces.
// weight_of(item) is taken when it has been produced: no further item is while those on their way weigh `most_weight`
// or more, so that memory is bounded. An exception of any of the three ends all and is thrown on; what had been
// consumed by then was whole.
template <typename Item, typename Produce, typename WeightOf, typename Transform, typename Consume>
void work_in_order(int num_threads, int64_t most_weight, Produce produce, WeightOf weight_of, Transform transform,
                   Consume consume) {
  struct Entry {
    Item item;
    int64_t weight = 0;
    bool done = false;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<Entry>> entries;  // on their way, the oldest first
  size_t num_taken = 0;                        // entries at the front that a worker has taken up
  int64_t weight = 0;
  bool produced_all = false, stopped = false;
  std::exception_ptr failure;

  const auto guarded = [&](auto&& work) {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      stopped = true;
      changed.notify_all();
    }
  };
  const auto produce_all = [&] {
    while (true) {
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopped || weight < most_weight; });
        if (stopped) return;
      }
      auto entry = std::make_unique<Entry>();
      const bool more = produce(entry->item);
      const std::lock_guard lock(mutex);
      if (more) {
        entry->weight = weight_of(entry->item);
        weight += entry->weight;
        entries.push_back(std::move(entry));
      } else {
        produced_all = true;
      }
      changed.notify_all();
      if (!more) return;
    }
  };
  const auto transform_all = [&] {
    while (true) {
      Entry* entry = nullptr;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopped || produced_all || num_taken < entries.size(); });
        if (stopped || num_taken == entries.size()) return;
        entry = entries[num_taken++].get();
      }
      transform(entry->item);
      const std::lock_guard lock(mutex);
      entry->done = true;
      changed.notify_all();
    }
  };
  const auto consume_all = [&] {
    while (true) {
      std::unique_ptr<Entry> entry;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopped || (entries.empty() ? produced_all : entries.front()->done); });
        if (stopped || entries.empty()) return;
        entry = std::move(entries.front());
        entries.pop_front();
        --num_taken;
      }
      consume(std::move(entry->item));
      const std::lock_guard lock(mutex);
      weight -= entry->weight;
      changed.notify_all();
    }
  };

  {
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { guarded(produce_all); });
    for (int number = 0; number < num_threads; ++number) threads.emplace_back([&] { guarded(transform_all); });
    guarded(consume_all);
    {
      const std::lock_guard lock(mutex);
      stopped = true;
      changed.notify_all();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dlcm
