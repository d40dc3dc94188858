#include "dlcm/tokenizer/byte_pair_encoder.h"

#include "dlcm/util/utf8.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>

namespace dlcm {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

// A merge is its rank in the upper half and its result in the lower: the smallest is the one learnt first.
uint32_t rank_of(uint64_t merge) { return static_cast<uint32_t>(merge >> 32); }
int32_t result_of(uint64_t merge) { return static_cast<int32_t>(static_cast<uint32_t>(merge)); }

}  // namespace

BytePairEncoder::BytePairEncoder(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
                                 const std::vector<std::string>& bytes,
                                 std::unordered_map<std::string, int32_t> whole_words)
    : byte_ids_(byte_ids),
      whole_words_(std::move(whole_words)),
      part_flag_(whole_words_.empty() ? 0 : 0x80),
      broken_joints_(size_t{1} << 16) {
  const size_t slots = std::bit_ceil(2 * merges.size() + 2);
  shift_ = 64 - std::countr_zero(slots);
  slots_.assign(slots, {kNoPair, kNoMerge});
  joints_.resize(16 * slots);
  joints_shift_ = 64 - std::countr_zero(joints_.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t pair = pair_of(merges[rank].left, merges[rank].right);
    size_t slot = first_slot(pair);
    while (slots_[slot].pair != kNoPair && slots_[slot].pair != pair) slot = (slot + 1) & (slots - 1);
    slots_[slot] = {pair, static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(merges[rank].result)};
    note_joints(bytes.at(static_cast<size_t>(merges[rank].result)));
  }
}

BytePairEncoder::Workspace::Workspace() : entries_(kEntries) {}

void BytePairEncoder::note_joints(std::string_view token) {
  const auto continues = [&](size_t at) { return (static_cast<unsigned char>(token[at]) & 0xC0) == 0x80; };
  for (size_t at = 1; at < token.size(); ++at) {
    if (continues(at)) continue;
    size_t begin = at - 1;
    while (begin > 0 && continues(begin)) --begin;
    const auto left = token.substr(begin, at - begin);
    const auto right = token.substr(at, utf8_length(token.substr(at)));
    if (utf8_length(left) == left.size() && !right.empty()) {
      joints_[joint_bit(utf8_decode(left), utf8_decode(right))] = true;
    } else {
      broken_joints_[static_cast<size_t>(static_cast<unsigned char>(token[at - 1])) << 8 |
                     static_cast<unsigned char>(token[at])] = true;
    }
  }
}

bool BytePairEncoder::may_join(std::string_view left, std::string_view right) const {
  return joints_[joint_bit(utf8_decode(left), utf8_decode(right))] ||
         broken_joints_[static_cast<size_t>(static_cast<unsigned char>(left.back())) << 8 |
                        static_cast<unsigned char>(right.front())];
}

void BytePairEncoder::encode(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  if (word.size() == 1) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(word.front())]);
    return;
  }
  remember(word, 0, workspace, ids, [&] {
    const auto whole = whole_words_.empty() ? whole_words_.end() : whole_words_.find(std::string(word));
    if (whole != whole_words_.end()) {
      ids.push_back(whole->second);
    } else {
      encode_in_parts(word, workspace, ids);
    }
  });
}

template <typename Compute>
void BytePairEncoder::remember(std::string_view word, uint8_t flag, Workspace& workspace, std::vector<int32_t>& ids,
                               Compute compute) const {
  if (word.size() > Workspace::kLongestWord) return compute();
  const auto key = static_cast<uint8_t>(word.size() | flag);
  auto& entry = workspace.entries_[(XXH3_64bits(word.data(), word.size()) + flag) & (Workspace::kEntries - 1)];
  if (entry.key == key && std::memcmp(entry.word.data(), word.data(), word.size()) == 0) {
    ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
    return;
  }
  const size_t first = ids.size();
  compute();
  const size_t count = ids.size() - first;
  if (count > Workspace::kMostIds) return;
  entry.key = key;
  entry.count = static_cast<uint8_t>(count);
  std::copy(word.begin(), word.end(), entry.word.begin());
  std::copy(ids.begin() + static_cast<int64_t>(first), ids.end(), entry.ids.begin());
}

void BytePairEncoder::encode_in_parts(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  size_t begin = 0;
  size_t before = 0;  // where the last character begins
  size_t at = utf8_length(word);
  while (at < word.size()) {
    const auto next = word.substr(at, utf8_length(word.substr(at)));
    if (!may_join(word.substr(before, at - before), next)) {
      const auto part = word.substr(begin, at - begin);
      remember(part, part_flag_, workspace, ids, [&] { merge(part, workspace, ids); });
      begin = at;
    }
    before = at;
    at += next.size();
  }
  const auto part = word.substr(begin);
  if (begin == 0) return merge(part, workspace, ids);  // the word itself, which is remembered as such
  remember(part, part_flag_, workspace, ids, [&] { merge(part, workspace, ids); });
}

void BytePairEncoder::merge(std::string_view part, Workspace& workspace, std::vector<int32_t>& ids) const {
  if (part.size() <= kLongestShortWord) {
    merge_short(part, ids);
  } else {
    merge_long(part, workspace, ids);
  }
}

void BytePairEncoder::merge_short(std::string_view word, std::vector<int32_t>& ids) const {
  std::array<int32_t, kLongestShortWord> symbols;
  std::array<uint64_t, kLongestShortWord> merges;  // of each symbol with the next one
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[static_cast<unsigned char>(word[i])];
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(symbols[i], symbols[i + 1]);
  while (count > 1) {
    const auto pairs_end = merges.begin() + static_cast<int64_t>(count) - 1;
    const auto first = static_cast<size_t>(std::min_element(merges.begin(), pairs_end) - merges.begin());
    if (merges[first] == kNoMerge) break;
    symbols[first] = result_of(merges[first]);
    std::copy(symbols.begin() + static_cast<int64_t>(first) + 2, symbols.begin() + static_cast<int64_t>(count),
              symbols.begin() + static_cast<int64_t>(first) + 1);
    std::copy(std::min(merges.begin() + static_cast<int64_t>(first) + 2, pairs_end), pairs_end,
              merges.begin() + static_cast<int64_t>(first) + 1);
    --count;
    if (first > 0) merges[first - 1] = merge_of(symbols[first - 1], symbols[first]);
    if (first + 1 < count) merges[first] = merge_of(symbols[first], symbols[first + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<int64_t>(count));
}

void BytePairEncoder::merge_long(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const {
  auto& symbols = workspace.symbols_;
  auto& queue = workspace.queue_;
  const auto size = static_cast<uint32_t>(word.size());
  symbols.resize(size);
  queue.clear();
  for (uint32_t i = 0; i < size; ++i) {
    symbols[i] = {byte_ids_[static_cast<unsigned char>(word[i])], i == 0 ? kNone : i - 1,
                  i + 1 == size ? kNone : i + 1};
  }
  const auto entry_of = [&](uint32_t index) -> uint64_t {
    const uint32_t after = symbols[index].after;
    const uint64_t merge = after == kNone ? kNoMerge : merge_of(symbols[index].id, symbols[after].id);
    return merge == kNoMerge ? kNoMerge : static_cast<uint64_t>(rank_of(merge)) << 32 | index;
  };
  const auto add = [&](uint32_t index) {
    const uint64_t entry = entry_of(index);
    if (entry == kNoMerge) return;
    queue.push_back(entry);
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < size; ++i) {
    if (const uint64_t entry = entry_of(i); entry != kNoMerge) queue.push_back(entry);
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  constexpr int32_t kMerged = -1;  // the id of a symbol that the one before it has taken in
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t entry = queue.back();
    queue.pop_back();
    const auto index = static_cast<uint32_t>(entry);
    auto& symbol = symbols[index];
    // The pair may have changed since it was queued.
    if (symbol.id == kMerged || entry_of(index) != entry) continue;
    auto& right = symbols[symbol.after];
    symbol.id = result_of(merge_of(symbol.id, right.id));
    right.id = kMerged;
    symbol.after = right.after;
    if (symbol.after != kNone) symbols[symbol.after].before = index;
    if (symbol.before != kNone) add(symbol.before);
    add(index);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].after) ids.push_back(symbols[i].id);
}

}  // namespace dlcm
