// Many texts encoded by several threads at once.
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

#include <cstddef>
#include <functional>

namespace dlcm {

// Calls task(0) ... task(count - 1), each by one of `threads` threads (0: one a core), which take the next one when
// they are done. What a task throws is thrown here once all threads have stopped.
void for_each_text(size_t count, int threads, const std::function<void(size_t)>& task);

// tokenizer.encode of each text.
std::vector<std::vector<int32_t>> encode_all(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                             int threads = 0);

}  // namespace dlcm
