// Facts about merging: short and long words, remembered or not, end as the definition says.
#include "dlcm/tokenizer/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dlcm {
namespace {

struct Rules {
  std::array<int32_t, 256> byte_ids{};
  std::vector<BytePairEncoder::Merge> merges{};
  std::vector<std::string> bytes = std::vector<std::string>(256);
};

Rules rules_of_bytes() {
  Rules rules;
  for (int32_t byte = 0; byte < 256; ++byte) {
    rules.byte_ids[static_cast<size_t>(byte)] = 255 - byte;
    rules.bytes[static_cast<size_t>(255 - byte)] = static_cast<char>(byte);
  }
  return rules;
}

// Characters of one to four bytes that share many of them.
const std::vector<std::string> kLetters{"a",      "b",      "\u00E9",     "\u00EA",    "\u4E2D",
                                        "\u4E2E", "\u4EAD", "\U0001F600", "\U0001F601"};

// Merges of random tokens of those letters, each of two tokens that are there already; pieces of characters too.
Rules random_rules(std::mt19937& random, int count) {
  Rules rules = rules_of_bytes();
  std::vector<int32_t> tokens;
  for (const auto& letter : kLetters) {
    for (const unsigned char byte : letter) tokens.push_back(rules.byte_ids[byte]);
  }
  while (static_cast<int>(rules.merges.size()) < count) {
    const int32_t left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
    const auto bytes = rules.bytes[static_cast<size_t>(left)] + rules.bytes[static_cast<size_t>(right)];
    std::string text;  // in which it could stand
    for (int i = 0; i < 200; ++i) text += kLetters[random() % kLetters.size()];
    if (text.find(bytes) == std::string::npos) continue;
    const auto id = static_cast<int32_t>(rules.bytes.size());
    rules.merges.push_back({left, right, id});
    rules.bytes.push_back(bytes);
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
    const BytePairEncoder encoder(rules.byte_ids, rules.merges, rules.bytes, {});
    BytePairEncoder::Workspace workspace;
    for (int trial = 0; trial < 60; ++trial) {
      std::string word;
      const size_t letters = 1 + random() % kLetters.size();
      for (unsigned length = 1 + random() % (trial % 6 == 0 ? 400 : 20); length > 0; --length) {
        word += kLetters[random() % letters];
      }
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
  Rules rules = rules_of_bytes();
  const auto id = [&](char letter) { return rules.byte_ids[static_cast<unsigned char>(letter)]; };
  rules.merges = {{id('a'), id('b'), 256}, {id('b'), id('c'), 257}, {id('a'), id('b'), 256}};
  rules.bytes.insert(rules.bytes.end(), {"ab", "bc"});
  const BytePairEncoder encoder(rules.byte_ids, rules.merges, rules.bytes, {});
  BytePairEncoder::Workspace workspace;
  std::vector<int32_t> ids;
  encoder.encode("abc", workspace, ids);
  encoder.encode("ab", workspace, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{id('a'), 257, 256}));
}

TEST(BytePairEncoder, TakesAWholeWordForATokenOnlyAsAWhole) {
  Rules rules = rules_of_bytes();
  const auto id = [&](char letter) { return rules.byte_ids[static_cast<unsigned char>(letter)]; };
  rules.merges = {{id('a'), id('b'), 256}};
  rules.bytes.insert(rules.bytes.end(), {"ab", "abxab"});
  const BytePairEncoder encoder(rules.byte_ids, rules.merges, rules.bytes, {{"abxab", 257}});
  BytePairEncoder::Workspace workspace;
  for (int round = 0; round < 2; ++round) {
    std::vector<int32_t> ids;
    encoder.encode("abxab", workspace, ids);
    encoder.encode("abxabxab", workspace, ids);
    EXPECT_EQ(ids, (std::vector<int32_t>{257, 256, id('x'), 256, id('x'), 256}));
  }
}

TEST(BytePairEncoder, RemembersAPartApartFromTheWordThatItIs) {
  Rules rules = rules_of_bytes();
  const auto id = [&](char letter) { return rules.byte_ids[static_cast<unsigned char>(letter)]; };
  rules.merges = {{id('a'), id('b'), 256}};
  rules.bytes.insert(rules.bytes.end(), {"ab", "a whole word"});
  const BytePairEncoder encoder(rules.byte_ids, rules.merges, rules.bytes, {{"ab", 257}});
  BytePairEncoder::Workspace workspace;
  for (int round = 0; round < 2; ++round) {
    std::vector<int32_t> ids;
    encoder.encode("ab", workspace, ids);
    encoder.encode("aab", workspace, ids);  // of the parts a and ab
    EXPECT_EQ(ids, (std::vector<int32_t>{257, id('a'), 256}));
  }
}

}  // namespace
}  // namespace dlcm
