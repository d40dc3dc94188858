// Byte-pair encoding: of the neighbouring tokens of a word the pair that was learnt first is merged, until none is
// left.
//
// Words come again and again, so each thread remembers the last ones. A word that it does not remember is cut where two
// characters meet that no token holds side by side: nothing is merged across such a place, and the parts (of Chinese,
// which has no spaces, a few characters) come again more often than the whole. A short part is merged in place; in a
// long one a queue holds the pairs, so that n bytes take time in proportion to n log n.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dlcm {

class BytePairEncoder {
 public:
  struct Merge {
    int32_t left = 0, right = 0, result = 0;
  };

  // `byte_ids`: the token of each byte. `merges`: the one learnt first in front; of two for the same pair the later
  // counts. `bytes`: those of each token by its id. `whole_words`: tokens by their bytes; a word that is one of them
  // takes it, whatever the merges.
  BytePairEncoder(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
                  const std::vector<std::string>& bytes, std::unordered_map<std::string, int32_t> whole_words);

  // What one thread needs while it encodes.
  class Workspace {
   public:
    Workspace();

   private:
    friend class BytePairEncoder;

    static constexpr size_t kLongestWord = 34;
    static constexpr size_t kMostIds = 7;
    static constexpr size_t kEntries = size_t{1} << 14;

    // A word and its tokens, in one cache line; a word longer than kLongestWord or of more tokens is not remembered.
    struct alignas(64) Entry {
      uint8_t key = 0;  // its length, plus the flag that tells a part from a word
      uint8_t count = 0;
      std::array<char, kLongestWord> word{};
      std::array<int32_t, kMostIds> ids{};
    };
    // A token in a long word: its neighbours by their index, kNone beyond the ends.
    struct Symbol {
      int32_t id;
      uint32_t before, after;
    };

    std::vector<Entry> entries_;
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> queue_;  // a heap of rank and index
  };

  // Appends the tokens of `word`, which is well-formed UTF-8 and not empty.
  void encode(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const;

 private:
  // Where a pair stands in the merges, and what it becomes; kNoMerge where it is none.
  struct Slot {
    uint64_t pair, merge;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0}, kNoMerge = ~uint64_t{0};
  static constexpr size_t kLongestShortWord = 128;

  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t first_slot(uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15u) >> shift_; }
  uint64_t merge_of(int32_t left, int32_t right) const {
    const uint64_t pair = pair_of(left, right);
    for (size_t slot = first_slot(pair);; slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot].pair == pair) return slots_[slot].merge;
      if (slots_[slot].pair == kNoPair) return kNoMerge;
    }
  }

  // Notes the places within a token where two characters meet.
  void note_joints(std::string_view token);
  bool may_join(std::string_view left, std::string_view right) const;
  size_t joint_bit(uint64_t left, uint64_t right) const {
    return ((left << 32 | right) * 0x9E3779B97F4A7C15u) >> joints_shift_;
  }

  // Calls `compute()`, which appends the tokens of `word`, unless they are remembered under `flag`.
  template <typename Compute>
  void remember(std::string_view word, uint8_t flag, Workspace& workspace, std::vector<int32_t>& ids,
                Compute compute) const;
  void encode_in_parts(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const;
  void merge(std::string_view part, Workspace& workspace, std::vector<int32_t>& ids) const;
  void merge_short(std::string_view word, std::vector<int32_t>& ids) const;
  void merge_long(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing; at most half full
  int shift_ = 0;
  std::unordered_map<std::string, int32_t> whole_words_;
  uint8_t part_flag_ = 0;  // a part is remembered apart where a whole word may have other tokens

  // Pairs of characters that stand side by side in a token: a bit each, by hash, so that a few others pass too, which
  // costs time only. `broken_joints_`, by the bytes on either side, are those where a token holds a piece of a
  // character.
  std::vector<bool> joints_;
  int joints_shift_ = 0;
  std::vector<bool> broken_joints_;
};

}  // namespace dlcm
