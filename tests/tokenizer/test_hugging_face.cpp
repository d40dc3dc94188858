// Facts about tokenizer.json files: the ids of PyPI's `tokenizers` (tests/tokenizer/make_files.py asked it), exact
// round trips, speed that does not depend on the text, and files that are refused.
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/parallel_encode.h"
#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <sstream>

namespace dlcm {
namespace {

using nlohmann::json;
using testing::hostile_text;
using testing::made_up_text;

const std::vector<std::string> kFiles{
    "gpt2",   "llama3",           "qwen2",        "deepseek_v3", "digits_and_prefix", "runs_of_digits",
    "splits", "removed_inverted", "added_tokens", "possessive"};
// Those that give every text of UTF-8 back, but for form C.
const std::vector<std::string> kExactFiles{"gpt2", "llama3", "deepseek_v3", "runs_of_digits", "possessive"};

std::string path_of(const std::string& name) { return DLCM_SOURCE_DIR "/tests/tokenizer/files/" + name + ".json"; }

std::shared_ptr<const Tokenizer> tokenizer_of(const std::string& name) { return load_tokenizer(path_of(name)); }

json content_of(const std::string& name) { return json::parse(read_file(path_of(name))); }

std::vector<json> references_of(const std::string& name) {
  std::istringstream lines(read_file(path_of(name) + "l"));
  std::vector<json> references;
  for (std::string line; std::getline(lines, line);) references.push_back(json::parse(line));
  return references;
}

class ReferenceFiles : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(HuggingFaceTokenizer, ReferenceFiles, ::testing::ValuesIn(kFiles),
                         [](const auto& file) { return file.param; });

TEST_P(ReferenceFiles, GiveTheReferencesIds) {
  const auto tokenizer = tokenizer_of(GetParam());
  const auto references = references_of(GetParam());
  ASSERT_GT(references.size(), 50u);
  for (const auto& reference : references) {
    const auto text = reference["text"].get<std::string>();
    const auto ids = tokenizer->encode_with_specials(text);
    EXPECT_EQ(ids, reference["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer->add_specials(ids), reference["with_specials"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer->encode(text), reference["as_text"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(valid_utf8(tokenizer->decode_with_specials(ids)), reference["decoded"].get<std::string>()) << text;
  }
}

TEST_P(ReferenceFiles, ReloadEqualFromWhatACheckpointStores) {
  const auto tokenizer = tokenizer_of(GetParam());
  const auto again = tokenizer_from_serialized(tokenizer->serialized(), "a checkpoint");
  EXPECT_EQ(again->hash(), tokenizer->hash());
  EXPECT_EQ(again->vocabulary(), tokenizer->vocabulary());
  EXPECT_EQ(again->encode(made_up_text(30, 4)), tokenizer->encode(made_up_text(30, 4)));
}

TEST_P(ReferenceFiles, TakeAnyBytesAsTheTextAfterReplacement) {
  const auto tokenizer = tokenizer_of(GetParam());
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    const auto bytes = hostile_text(random);
    ASSERT_EQ(tokenizer->encode(bytes), tokenizer->encode(valid_utf8(bytes)));
    ASSERT_EQ(tokenizer->encode_with_specials(bytes), tokenizer->encode_with_specials(valid_utf8(bytes)));
  }
}

TEST_P(ReferenceFiles, GiveTheSameIdsOnSeveralThreads) {
  const auto tokenizer = tokenizer_of(GetParam());
  std::mt19937 random(9);
  std::vector<std::string> texts;
  for (int i = 0; i < 60; ++i) texts.push_back(hostile_text(random) + made_up_text(3, random() % 20));
  std::vector<std::vector<int32_t>> ids;
  for (const auto& text : texts) ids.push_back(tokenizer_of(GetParam())->encode(text));  // nothing remembered
  for (const int threads : {1, 4}) EXPECT_EQ(encode_all(*tokenizer, texts, threads), ids);
  EXPECT_THROW(for_each_text(100, 4,
                             [](size_t i) {
                               if (i == 37) throw Error("text {}", i);
                             }),
               Error);
}

TEST(HuggingFaceTokenizer, GivesEveryTextBack) {
  std::mt19937 random(7);
  for (const auto& name : kExactFiles) {
    const auto tokenizer = tokenizer_of(name);
    for (int round = 0; round < 2000; ++round) {
      const auto text = valid_utf8(hostile_text(random)) + (round % 3 == 0 ? tokenizer->display(0) : "");
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
      ASSERT_EQ(tokenizer->decode_with_specials(tokenizer->encode_with_specials(text)), text) << name;
    }
  }
}

TEST(HuggingFaceTokenizer, TakesSpecialTokenTextForATokenOnlyWhereAskedTo) {
  const auto tokenizer = tokenizer_of("gpt2");
  EXPECT_EQ(tokenizer->encode_with_specials("<|endoftext|>"), (std::vector<int32_t>{0}));
  EXPECT_GT(tokenizer->encode("<|endoftext|>").size(), 1u);
  EXPECT_EQ(tokenizer->piece(0), "");
  EXPECT_EQ(tokenizer->display(0), kEndOfText);
}

TEST(HuggingFaceTokenizer, KnowsWhatBeginsAndEndsAText) {
  EXPECT_EQ(tokenizer_of("gpt2")->end_of_text(), 0);
  EXPECT_EQ(tokenizer_of("gpt2")->begin_of_text(), 0) << "GPT-2 has one token for both";
  const auto llama = tokenizer_of("llama3");
  EXPECT_EQ(llama->display(llama->begin_of_text()), "<|begin_of_text|>");
  EXPECT_EQ(llama->display(llama->end_of_text()), "<|end_of_text|>");
  const auto deepseek = tokenizer_of("deepseek_v3");
  EXPECT_EQ(deepseek->display(deepseek->begin_of_text()), "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(deepseek->display(deepseek->end_of_text()), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(tokenizer_of("digits_and_prefix")->display(tokenizer_of("digits_and_prefix")->begin_of_text()), "<s>");
}

TEST(HuggingFaceTokenizer, MarksTokensThatOpenAWord) {
  const auto tokenizer = tokenizer_of("gpt2");
  const auto opens = tokenizer->opens_word();
  const auto opens_first = [&](const std::string& text) {
    return opens[static_cast<size_t>(tokenizer->encode(text)[0])];
  };
  EXPECT_EQ(opens_first(" the") + opens_first("\n") + opens_first("."), 3);
  EXPECT_EQ(opens_first("the") + opens_first("7"), 0);
  EXPECT_EQ(opens[0], 0) << "a special token";
}

TEST(HuggingFaceTokenizer, TakesTimeInProportionToTheTextWhateverItIs) {
  const std::string three = "\xE4\xB8\xAD";
  std::string chinese, spaces_and_letters, joined;
  while (chinese.size() < (1 << 20)) chinese += three;
  while (spaces_and_letters.size() < (1 << 20)) spaces_and_letters.append(1000, ' ').append(1, 'x');
  while (joined.size() < (1 << 20)) joined.append("ab<|endoftext|>\xCC\x81");
  for (const auto& name : kFiles) {
    if (name == "possessive") continue;  // Oniguruma's own time
    const auto tokenizer = tokenizer_of(name);
    for (const auto& text : {std::string(1 << 20, 'a'), std::string(1 << 20, ' '), std::string(1 << 20, '\n'),
                             std::string(1 << 20, '<'), chinese, spaces_and_letters, joined}) {
      const auto start = std::chrono::steady_clock::now();
      tokenizer->encode_with_specials(text);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      EXPECT_LT(seconds, 2.0) << name << ", " << text.substr(0, 10);  // some 0.1 s where nothing else runs
    }
  }
}

// --- Files that are refused.

std::string refusal(const std::string& serialized) {
  try {
    tokenizer_from_serialized(serialized, "some.json");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

struct Refusal {
  std::string file;
  std::string place;  // a JSON pointer
  std::string value;  // JSON that is put there
  std::string named;  // what the message must name
};

class RefusedFiles : public ::testing::TestWithParam<Refusal> {};

const std::vector<Refusal> kRefusals{
    {"gpt2", "/version", R"("2.0")", "version"},
    {"gpt2", "/truncation", R"({"max_length": 512})", "truncation"},
    {"gpt2", "/padding", "{}", "padding"},
    {"gpt2", "/surprise", "1", "surprise"},
    {"gpt2", "/normalizer", R"({"type": "NFKC"})", "NFKC"},
    {"gpt2", "/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]})",
     "Lowercase"},
    {"gpt2", "/normalizer", R"("NFC")", "normalizer"},
    {"gpt2", "/pre_tokenizer", "null", "pre_tokenizer"},
    {"gpt2", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_"})", "Metaspace"},
    {"gpt2", "/pre_tokenizer/use_regex", R"("yes")", "use_regex"},
    {"gpt2", "/pre_tokenizer/unknown", "true", "unknown"},
    {"llama3", "/pre_tokenizer/pretokenizers/1", R"({"type": "Digits", "individual_digits": true})", "ByteLevel"},
    {"llama3", "/pre_tokenizer/pretokenizers/0/behavior", R"("Sometimes")", "Sometimes"},
    {"llama3", "/pre_tokenizer/pretokenizers/0/invert", "null", "invert"},
    {"llama3", "/pre_tokenizer/pretokenizers/0/pattern", R"({"Regex": "(a"})", "(a"},
    {"llama3", "/pre_tokenizer/pretokenizers/0/pattern", R"({"Glob": "*"})", "Glob"},
    {"llama3", "/pre_tokenizer/pretokenizers/2",
     R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": false})", "ByteLevel"},
    {"gpt2", "/post_processor", R"({"type": "BertProcessing", "sep": ["a", 0], "cls": ["b", 1]})", "BertProcessing"},
    {"deepseek_v3", "/post_processor/single/1", R"({"Sequence": {"id": "B", "type_id": 0}})", "single"},
    {"deepseek_v3", "/post_processor/single", "[]", "single"},
    {"deepseek_v3", "/post_processor/special_tokens", "{}", "special_tokens"},
    {"gpt2", "/decoder", "null", "decoder"},
    {"gpt2", "/decoder/type", R"("WordPiece")", "decoder"},
    {"gpt2", "/model/type", R"("Unigram")", "Unigram"},
    {"gpt2", "/model/dropout", "0.1", "dropout"},
    {"gpt2", "/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
    {"gpt2", "/model/continuing_subword_prefix", R"("##")", "continuing_subword_prefix"},
    {"gpt2", "/model/ignore_merges", "1", "ignore_merges"},
    {"gpt2", "/model/pre_split", "1", "pre_split"},
    {"gpt2", "/model/vocab/!", "-1", "model.vocab"},
    {"gpt2", "/model/vocab/!", "4294967295", "model.vocab"},
    {"gpt2", "/model/vocab/!", "16000000", "16000000"},
    {"gpt2", "/model/vocab/!", "2", "with the id 2"},
    {"gpt2", "/model/vocab", "{}", "256 bytes"},
    {"gpt2", "/model/vocab", "[]", "model.vocab"},
    {"gpt2", "/model/merges/0", R"(["no such", "token"])", "no such"},
    {"gpt2", "/model/merges/0", R"(["a", "b", "c"])", "merges[0]"},
    {"gpt2", "/model/merges/1", R"("a b")", "merges[1]"},
    {"digits_and_prefix", "/model/merges/0", R"("a b c")", "merges[0]"},
    {"gpt2", "/added_tokens/0/special", R"("true")", "special"},
    {"gpt2", "/added_tokens/0/id", "5", "added_tokens[0].id"},
    {"gpt2", "/added_tokens/0/content", R"("")", "content"},
    {"gpt2", "/added_tokens/0/extra", "1", "extra"},
    {"gpt2", "/added_tokens", "[]", "<|endoftext|>"},
    {"gpt2", "/added_tokens/1",
     R"({"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})",
     "added before"},
};

INSTANTIATE_TEST_SUITE_P(HuggingFaceTokenizer, RefusedFiles, ::testing::ValuesIn(kRefusals));

TEST_P(RefusedFiles, NameThePart) {
  const auto& refused = GetParam();
  auto content = content_of(refused.file);
  ASSERT_EQ(refusal(content.dump()), "");
  content[json::json_pointer(refused.place)] = json::parse(refused.value);
  const auto message = refusal(content.dump());
  EXPECT_THAT(message, ::testing::HasSubstr(refused.named));
  EXPECT_THAT(message, ::testing::HasSubstr("some.json"));
}

TEST(HuggingFaceTokenizer, RefusesAnyMissingPart) {
  for (const std::string part : {"version", "pre_tokenizer", "decoder", "model", "added_tokens"}) {
    auto content = content_of("gpt2");
    content.erase(part);
    EXPECT_NE(refusal(content.dump()), "") << part;
  }
  for (const std::string part : {"vocab", "merges"}) {
    auto content = content_of("gpt2");
    content["model"].erase(part);
    EXPECT_NE(refusal(content.dump()), "") << part;
  }
}

TEST(HuggingFaceTokenizer, ReadsAFileWhateverWhiteSpaceItHas) {
  EXPECT_EQ(refusal("\r\n\t " + content_of("gpt2").dump(4) + "\n"), "");
}

TEST(HuggingFaceTokenizer, RefusesATruncatedFile) {
  const auto whole = read_file(path_of("deepseek_v3"));
  const size_t end = whole.find_last_of('}');
  for (size_t length = 1; length < end; length += length < 300 || length + 300 > end ? 1 : 97) {
    EXPECT_THAT(refusal(whole.substr(0, length)), ::testing::HasSubstr("some.json")) << length;
  }
}

TEST(HuggingFaceTokenizer, SurvivesDamage) {
  std::mt19937 random(11);
  for (const auto& name : kFiles) {
    const auto whole = read_file(path_of(name));
    for (int round = 0; round < 60; ++round) {
      auto damaged = whole;
      for (unsigned flips = 0; flips <= random() % 3; ++flips)
        damaged[random() % 3000] = static_cast<char>(random() % 128);
      try {
        tokenizer_from_serialized(damaged, "x")->encode_with_specials("some text, 123 \xE4\xB8\xAD");
      } catch (const Error&) {
      }
    }
  }
}

TEST(HuggingFaceTokenizer, RefusesSequencesWithinSequencesWithoutEnd) {
  auto content = content_of("gpt2");
  for (int depth = 0; depth < 2000; ++depth) {
    content["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array({content["pre_tokenizer"]})}};
  }
  EXPECT_THAT(refusal(content.dump()), ::testing::HasSubstr("Sequences"));
  EXPECT_NE(refusal("{\"version\":" + std::string(1 << 20, '[')), "");
}

}  // namespace
}  // namespace dlcm
