// Facts about training a tokenizer: determinism, odd texts, impossible vocabularies.
#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/tokenizer/train.h"
#include "dlcm/util/error.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dlcm {
namespace {

using testing::hostile_text;
using testing::made_up_text;
using testing::TemporaryFolder;

std::shared_ptr<const Tokenizer> train_on(const std::string& text, int64_t vocabulary,
                                          int64_t largest_text_bytes = 1 << 20) {
  TemporaryFolder folder;
  return tokenizer_from_serialized(train_tokenizer({.inputs = {folder.write("a.txt", text)},
                                                    .vocabulary = vocabulary,
                                                    .largest_text_bytes = largest_text_bytes}),
                                   "trained");
}

// The message with which training refuses.
std::string refusal(const std::string& text, int64_t vocabulary) {
  try {
    train_on(text, vocabulary);
    return "";
  } catch (const RuntimeFailure& failure) {
    return std::string("unexpected: ") + failure.what();
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(TokenizerTraining, GivesEqualFilesForEqualText) {
  const std::string text = made_up_text(300, 2);
  EXPECT_EQ(train_on(text, 500)->serialized(), train_on(text, 500)->serialized());
}

TEST(TokenizerTraining, NamesTheLargestVocabularyThatTheTextSupports) {
  EXPECT_THAT(refusal("a", 5000), ::testing::HasSubstr("at most 261"));
  EXPECT_THAT(refusal(made_up_text(5, 1), 100000), ::testing::HasSubstr("at most"));
  EXPECT_THAT(refusal(made_up_text(5, 1), 200), ::testing::HasSubstr("261"));
  EXPECT_THAT(refusal(made_up_text(5, 1), 0), ::testing::HasSubstr("261"));
  EXPECT_THAT(refusal(made_up_text(5, 1), -4), ::testing::HasSubstr("261"));
}

TEST(TokenizerTraining, LargestNamedVocabularyWorks) {
  for (const std::string& text : {std::string("a"), std::string("ab ab"), made_up_text(4, 1)}) {
    const std::string message = refusal(text, 90000);
    const std::string marker = "at most ";
    ASSERT_NE(message.find(marker), std::string::npos) << message;
    const int64_t largest = std::stoll(message.substr(message.find(marker) + marker.size()));
    EXPECT_EQ(train_on(text, largest)->vocabulary(), largest);
  }
}

TEST(TokenizerTraining, RefusesTextThatTrainsNothing) {
  for (const std::string& text : {std::string(), std::string("\n\n"), std::string("\xFF\xFE\x80"), std::string(9, '\0'),
                                  std::string("\xE2\x96\x81"), std::string("<|endoftext|>\n<|endoftext|>\n")}) {
    const std::string message = refusal(text, 300);
    EXPECT_THAT(message, ::testing::HasSubstr("found none")) << text;
  }
  EXPECT_THAT(refusal("<unk><0x41><|bos|>", 300), ::testing::StartsWith("expected"));
  EXPECT_THAT(refusal(" ", 300), ::testing::StartsWith("expected"));
}

TEST(TokenizerTraining, TakesAnyBytes) {
  std::mt19937 random(19);
  for (int round = 0; round < 20; ++round) {
    std::string text;
    for (int part = 0; part < 40; ++part) text += hostile_text(random);
    const auto message = refusal(text, 280 + static_cast<int64_t>(random() % 200));
    EXPECT_FALSE(message.starts_with("unexpected")) << message;
  }
}

TEST(TokenizerTraining, TakesASmallVocabularyForALargeAlphabet) {
  std::string text;
  for (int code = 0x4E00; code < 0x5600; ++code) {
    text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
             static_cast<char>(0x80 | (code & 0x3F))};
    text += "word ";
  }
  for (const int64_t vocabulary : {261, 262, 270, 300, 1000}) {
    EXPECT_EQ(refusal(text, vocabulary), "") << vocabulary;
  }
}

TEST(TokenizerTraining, CutsLongLinesInsteadOfDroppingThem) {
  std::string line;
  while (line.size() < 50000) line += "wordy ";
  const auto tokenizer = train_on(line, 271);
  EXPECT_LT(tokenizer->encode(line).size(), line.size() / 4);
}

TEST(TokenizerTraining, SamplesLargeTextEvenly) {
  std::string text;
  for (int line = 0; line < 2000; ++line) text += line < 1000 ? "alpha\n" : "zzyva\n";
  const auto tokenizer = train_on(text, 275, 1000);
  EXPECT_EQ(tokenizer->encode("alpha").size(), 1u);
  EXPECT_EQ(tokenizer->encode("zzyva").size(), 1u);
}

TEST(TokenizerTraining, ReadsNoMoreTextThanItsLimit) {
  const std::string text = made_up_text(200, 3);
  EXPECT_EQ(train_on(text, 700)->vocabulary(), 700);
  EXPECT_THROW(train_on(text, 700, 1000), Error);
}

TEST(TokenizerTraining, RefusesMissingInput) {
  TemporaryFolder folder;
  EXPECT_THROW(train_tokenizer({.inputs = {folder / "missing"}, .vocabulary = 300}), Error);
  EXPECT_THROW(train_tokenizer({.inputs = {folder.path()}, .vocabulary = 300}), Error);
}

}  // namespace
}  // namespace dlcm
