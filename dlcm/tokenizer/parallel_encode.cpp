#include "dlcm/tokenizer/parallel_encode.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

namespace dlcm {

void for_each_text(size_t count, int threads, const std::function<void(size_t)>& task) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (size_t index = next++; index < count; index = next++) task(index);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  {
    const size_t workers =
        threads > 0 ? static_cast<size_t>(threads) : std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::jthread> helpers;
    for (size_t number = 1; number < std::min(workers, count); ++number) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

std::vector<std::vector<int32_t>> encode_all(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                             int threads) {
  std::vector<std::vector<int32_t>> ids(texts.size());
  for_each_text(texts.size(), threads, [&](size_t index) { ids[index] = tokenizer.encode(texts[index]); });
  return ids;
}

}  // namespace dlcm
