// Facts about both tokenizers: exact round trips, special tokens, files that are refused.
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/sentencepiece_model.h"
#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/tokenizer/train.h"
#include "dlcm/util/error.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <chrono>

namespace dlcm {
namespace {

using testing::hostile_text;
using testing::made_up_text;
using testing::TemporaryFolder;

const std::string& trained_model() {
  static const std::string model = [] {
    TemporaryFolder folder;
    std::mt19937 random(3);
    std::string text = made_up_text(600, 1);
    for (int index = 0; index < 50; ++index) text += hostile_text(random) + " <0x41> <unk> <|endoftext|>\xE2\x96\x81\n";
    return train_tokenizer({.inputs = {folder.write("a.txt", text)}, .vocabulary = 600});
  }();
  return model;
}

std::shared_ptr<const Tokenizer> trained() {
  static const auto tokenizer = tokenizer_from_serialized(trained_model(), "the trained model");
  return tokenizer;
}

// Loads the bytes and fails with the message of an Error, if any; anything else that goes wrong ends the test.
std::string refusal(const std::string& serialized) {
  try {
    tokenizer_from_serialized(serialized, "some.model");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void expect_exact(const Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.encode(text);
  ASSERT_EQ(tokenizer.decode(ids), text);
  for (const int32_t id : ids) ASSERT_FALSE(tokenizer.piece(id).empty()) << "a special token in plain text";
}

TEST(ByteTokenizer, HasOneIdPerByteThenEndOfTextAndBeginOfText) {
  const auto bytes = load_tokenizer("bytes");
  EXPECT_EQ(bytes->vocabulary(), 258);
  EXPECT_EQ(bytes->end_of_text(), 256);
  EXPECT_EQ(bytes->begin_of_text(), 257);
  EXPECT_EQ(bytes->encode("a\xFF"), (std::vector<int32_t>{97, 255}));
  EXPECT_EQ(bytes->display(256), "<|endoftext|>");
  EXPECT_EQ(bytes->display(257), "<|bos|>");
  EXPECT_EQ(bytes->piece(256), "");
  EXPECT_EQ(tokenizer_from_serialized(bytes->serialized(), "x")->hash(), bytes->hash());
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  for (const auto& tokenizer : {load_tokenizer("bytes"), trained()}) {
    EXPECT_THROW(tokenizer->piece(-1), Error);
    EXPECT_THROW(tokenizer->piece(tokenizer->vocabulary()), Error);
    EXPECT_THROW(tokenizer->decode({0, static_cast<int32_t>(tokenizer->vocabulary())}), Error);
  }
}

TEST(Tokenizer, MarksTokensThatOpenAWord) {
  const auto opens = load_tokenizer("bytes")->opens_word();
  ASSERT_EQ(opens.size(), 258u);
  for (const char byte : std::string(" \t\n\r.,(_~")) EXPECT_EQ(opens[static_cast<size_t>(byte)], 1) << byte;
  for (const char byte : std::string("azAZ09\x01")) EXPECT_EQ(opens[static_cast<size_t>(byte)], 0) << byte;
  EXPECT_EQ(opens[0xE4] + opens[256] + opens[257], 0);
  const auto tokenizer = trained();
  const auto trained_opens = tokenizer->opens_word();
  int words = 0;
  for (int64_t id = 0; id < tokenizer->vocabulary(); ++id) {
    if (tokenizer->piece(id).starts_with(' ')) {
      EXPECT_EQ(trained_opens[static_cast<size_t>(id)], 1);
      ++words;
    }
  }
  EXPECT_GT(words, 10);
}

TEST(SentencePieceTokenizer, HasTheVocabularyAskedFor) {
  EXPECT_EQ(trained()->vocabulary(), 600);
  EXPECT_NE(trained()->end_of_text(), trained()->begin_of_text());
  EXPECT_EQ(trained()->display(trained()->end_of_text()), kEndOfText);
  EXPECT_EQ(trained()->display(trained()->begin_of_text()), kBeginOfText);
  EXPECT_EQ(trained()->piece(trained()->begin_of_text()), "");
}

TEST(SentencePieceTokenizer, MergesBytesIntoWords) {
  const std::string text = made_up_text(50, 1);
  EXPECT_LT(trained()->encode(text).size() * 2, text.size());
}

TEST(SentencePieceTokenizer, KeepsEveryByteOfHostileText) {
  for (const std::string text : {"", " ", "  ", "\n", "\xE2\x96\x81", "a\xE2\x96\x81 b", "<0x41>", "<|endoftext|>",
                                 "<|bos|>", "<unk>", "<s>", "\xFF", "\xE2\x96", "caf\xC3\xA9 e\xCC\x81 \xEF\xAC\x81"}) {
    expect_exact(*trained(), text);
  }
  for (int byte = 0; byte < 256; ++byte) expect_exact(*trained(), std::string(3, static_cast<char>(byte)));
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = hostile_text(random);
    expect_exact(*trained(), text);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(SentencePieceTokenizer, KeepsEveryCodePoint) {
  std::string text;
  for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 37) {
    if (code < 0x80) {
      text = static_cast<char>(code);
    } else if (code < 0x800) {
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    } else if (code < 0x10000) {
      text = {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
              static_cast<char>(0x80 | (code & 0x3F))};
    } else {
      text = {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
              static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
    }
    expect_exact(*trained(), "a" + text + " " + text + "b");
    if (HasFatalFailure()) FAIL() << "code point " << code;
  }
}

TEST(SentencePieceTokenizer, EncodesLongTextInChunksAsInOnePiece) {
  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.LoadFromSerializedProto(trained_model()).ok());
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::string text = made_up_text(60, random());  // many chunks long
    if (round % 2 == 0) std::erase(text, ' ');
    if (round % 4 == 0) std::erase(text, '\n');
    std::vector<int> whole;
    ASSERT_TRUE(processor.Encode(text, &whole).ok());
    EXPECT_EQ(trained()->encode(text), (std::vector<int32_t>(whole.begin(), whole.end())));
  }
}

TEST(SentencePieceTokenizer, TakesTimeInProportionToTheLengthOfALine) {
  const auto seconds = [](const std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    expect_exact(*trained(), text);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::string words;
  while (words.size() < 40000) words += "kaloming\xE4\xB8\xADthe";
  std::string many;
  for (int copy = 0; copy < 16; ++copy) many += words;
  seconds(words);
  EXPECT_LT(seconds(many), 16 * 6 * seconds(words) + 0.2);
  seconds(std::string(1 << 20, 'a'));
  seconds(std::string(1 << 20, ' '));
  seconds(std::string(1 << 20, '\xFF'));
}

TEST(SentencePieceTokenizer, ModelIsReadBySentencePieceItself) {
  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.LoadFromSerializedProto(trained_model()).ok());
  EXPECT_EQ(processor.GetPieceSize(), 600);
  EXPECT_EQ(processor.eos_id(), trained()->end_of_text());
  EXPECT_EQ(processor.bos_id(), trained()->begin_of_text());
}

TEST(SentencePieceTokenizer, ReloadsEqualFromItsFile) {
  TemporaryFolder folder;
  const auto loaded = load_tokenizer(folder.write("t.model", trained()->serialized()));
  EXPECT_EQ(loaded->hash(), trained()->hash());
  EXPECT_NE(loaded->hash(), load_tokenizer("bytes")->hash());
  const std::string text = made_up_text(20, 9);
  EXPECT_EQ(loaded->encode(text), trained()->encode(text));
}

TEST(SentencePieceTokenizer, RefusesATruncatedFile) {
  const std::string& model = trained_model();
  constexpr size_t kChecksumField = 35;  // without exactly this the rest is a whole model
  for (size_t length = 0; length < model.size(); length += length < 200 || length > model.size() - 500 ? 1 : 97) {
    if (length == model.size() - kChecksumField) continue;
    EXPECT_NE(refusal(model.substr(0, length)), "") << length;
  }
}

TEST(SentencePieceTokenizer, RefusesAFlippedBitAnywhere) {
  std::mt19937 random(11);
  for (size_t position = 0;
       position<trained_model().size(); position += position + 600> trained_model().size() ? 1 : 1 + random() % 40) {
    std::string model = trained_model();
    model[position] = static_cast<char>(model[position] ^ 1 << random() % 8);
    EXPECT_NE(refusal(model), "") << position;
  }
}

TEST(SentencePieceTokenizer, RefusesDamageThatCarriesAFittingChecksumWithoutACrash) {
  std::mt19937 random(13);
  const std::string whole = trained_model().substr(0, trained_model().size() - 35);
  for (int round = 0; round < 400; ++round) {
    std::string model = whole;
    for (unsigned flips = 0; flips <= random() % 4; ++flips) {
      model[random() % model.size()] = static_cast<char>(random() % 256);
    }
    try {
      const auto tokenizer = tokenizer_from_serialized(with_checksum(model), "x");
      tokenizer->decode(tokenizer->encode(made_up_text(3, 1)));
    } catch (const Error&) {
    }
  }
}

TEST(SentencePieceTokenizer, RefusesForeignFilesByName) {
  TemporaryFolder folder;
  EXPECT_THAT(refusal(R"({"version": "1.0", "model": {}})"), ::testing::HasSubstr("some.model"));
  EXPECT_THAT(refusal("PK\x03\x04 something"), ::testing::HasSubstr("some.model"));
  EXPECT_THAT(refusal(""), ::testing::HasSubstr("empty"));
  std::mt19937 random(17);
  for (int round = 0; round < 300; ++round) {
    std::string noise(random() % 300 + 1, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    EXPECT_NE(refusal(noise), "");
  }
  EXPECT_THROW(load_tokenizer(folder / "missing.model"), Error);
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
}

TEST(SentencePieceTokenizer, RefusesAModelThatChangesText) {
  // The dummy prefix turned on: field 3 of the normalizer, which is written as 0x18 0x00 (false).
  std::string model = trained_model().substr(0, trained_model().size() - 35);
  const size_t normalizer = model.rfind("identity");
  ASSERT_NE(normalizer, std::string::npos);
  const size_t flag = model.find(std::string("\x18\x00", 2), normalizer);
  ASSERT_NE(flag, std::string::npos);
  ASSERT_EQ(refusal(with_checksum(model)), "");
  model[flag + 1] = 1;
  EXPECT_THAT(refusal(with_checksum(model)), ::testing::HasSubstr("add_dummy_prefix"));
}

}  // namespace
}  // namespace dlcm
