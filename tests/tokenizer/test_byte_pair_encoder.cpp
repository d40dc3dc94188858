// Facts about merging: short and long words, remembered or not, end as the definition says.
#include "dlcm/tokenizer/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dlcm {
namespace {

struct Rules {
  std::array<int32_t, 256> byte_ids{};
  std::vector<BytePairEncoder::Merge> merges;
};

// Merges of random tokens of the letters a to d, each of two tokens that are there already.
Rules random_rules(std::mt19937& random, int count) {
  Rules rules;
  for (int32_t byte = 0; byte < 256; ++byte) rules.byte_ids[static_cast<size_t>(byte)] = 255 - byte;
  std::vector<int32_t> tokens;
  for (const unsigned char letter : std::string("abcd")) tokens.push_back(rules.byte_ids[letter]);
  for (int32_t id = 256; id < 256 + count; ++id) {
    rules.merges.push_back({tokens[random() % tokens.size()], tokens[random() % tokens.size()], id});
    tokens.push_back(id);
  }
  std::shuffle(rules.merges.begin(), rules.merges.end(), random);  // a later token may be learnt first
  return rules;
}

std::vector<int32_t> by_definition(const Rules& rules, const std::string& word) {
  std::map<std::pair<int32_t, int32_t>, std::pair<size_t, int32_t>> merge_of;
  for (size_t rank = 0; rank < rules.merges.size(); ++rank) {
    merge_of[{rules.merges[rank].left, rules.merges[rank].right}] = {rank, rules.merges[rank].result};
  }
  std::vector<int32_t> ids;
  for (const unsigned char byte : word) ids.push_back(rules.byte_ids[byte]);
  while (true) {
    size_t best = ids.size(), best_rank = rules.merges.size();
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merge_of.find({ids[i], ids[i + 1]});
      if (found != merge_of.end() && found->second.first < best_rank) {
        best = i;
        best_rank = found->second.first;
      }
    }
    if (best == ids.size()) return ids;
    ids[best] = merge_of[{ids[best], ids[best + 1]}].second;
    ids.erase(ids.begin() + static_cast<int64_t>(best) + 1);
  }
}

TEST(BytePairEncoder, MergesAsTheDefinitionSays) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const auto rules = random_rules(random, 1 + static_cast<int>(random() % 60));
    const BytePairEncoder encoder(rules.byte_ids, rules.merges, {});
    BytePairEncoder::Workspace workspace;
    for (int trial = 0; trial < 60; ++trial) {
      std::string word;
      const unsigned letters = 1 + random() % 4;
      for (unsigned length = 1 + random() % (trial % 6 == 0 ? 400 : 40); length > 0; --length)
        word += static_cast<char>('a' + random() % letters);
      const auto expected = by_definition(rules, word);
      for (int again = 0; again < 2; ++again) {
        std::vector<int32_t> ids{7};
        encoder.encode(word, workspace, ids);
        ids.erase(ids.begin());
        ASSERT_EQ(ids, expected) << word;
      }
    }
  }
}

TEST(BytePairEncoder, TakesTheLaterOfTwoMergesOfAPair) {
  Rules rules;
  for (int32_t byte = 0; byte < 256; ++byte) rules.byte_ids[static_cast<size_t>(byte)] = byte;
  rules.merges = {{'a', 'b', 300}, {'b', 'c', 301}, {'a', 'b', 302}};
  const BytePairEncoder encoder(rules.byte_ids, rules.merges, {});
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  encoder.encode("abc", workspace, ids);
  encoder.encode("ab", workspace, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{'a', 301, 302}));
}

TEST(BytePairEncoder, TakesAWholeWordForATokenOnlyAsAWhole) {
  std::array<int32_t, 256> byte_ids{};
  for (int32_t byte = 0; byte < 256; ++byte) byte_ids[static_cast<size_t>(byte)] = byte;
  const BytePairEncoder encoder(byte_ids, {{'a', 'b', 300}}, {{"abab", 400}});
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  encoder.encode("abab", workspace, ids);
  encoder.encode("ababab", workspace, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{400, 300, 300, 300}));
}

}  // namespace
}  // namespace dlcm
