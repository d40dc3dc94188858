// A tokenizer.json travels with the data and the model: built, trained, scored, shown, written on.
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/tokenizer.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/process.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <sstream>

namespace dlcm {
namespace {

using nlohmann::json;

class HuggingFaceModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::string file() const { return DLCM_SOURCE_DIR "/tests/tokenizer/files/" + GetParam() + ".json"; }
  std::string path(const std::string& name) const { return directory_ / name; }

  std::string run(std::vector<std::string> arguments) {
    const auto finished = test::Process(path("scratch"), std::move(arguments)).wait();
    EXPECT_EQ(finished.status, 0) << finished.messages;
    return finished.output;
  }

  test::TemporaryDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(Families, HuggingFaceModel, ::testing::Values("gpt2", "llama3", "qwen2", "deepseek_v3"),
                         [](const auto& family) { return family.param; });

TEST_P(HuggingFaceModel, CarriesItsTokenizerFromDataToText) {
  const std::string sentence = "The baker's dog crossed 12 old bridges, 每天早晨 <|endoftext|>\n";
  std::string text;
  for (int document = 0; document < 60; ++document) {
    for (int line = 0; line < 10; ++line) text += std::to_string(document * line) + " " + sentence;
    text += "<|endoftext|>\n";
  }
  test::overwrite(path("text.txt"), text);
  test::overwrite(path("one.txt"), sentence);
  run({"data", "build", "--tokenizer", file(), "--input", path("text.txt"), "--output", path("data")});
  EXPECT_EQ(read_file(path("data") + "/tokenizer"), read_file(file()));
  run({"train", "--config", DLCM_SOURCE_DIR "/configs/tiny.toml", "--data", path("data"), "--output", path("run"),
       "--set", "model.vocabulary=0", "--set", "train.steps=2", "--set", "train.threads=1", "--set",
       "parser.rule=whitespace", "--set", "parser.min_length=1"});
  const auto tokenizer = load_tokenizer(file());

  const auto scored = json::parse(run({"score", "--model", path("run"), "--text", path("one.txt"), "--jsonl"}));
  auto expected = tokenizer->encode(sentence);
  expected.insert(expected.begin(), static_cast<int32_t>(tokenizer->begin_of_text()));
  EXPECT_EQ(scored["ids"].get<std::vector<int32_t>>(), expected);
  EXPECT_EQ(scored["tokens"][0].get<std::string>(), tokenizer->display(tokenizer->begin_of_text()));
  EXPECT_EQ(scored["bytes"].get<size_t>(), sentence.size());
  std::string shown;
  for (size_t i = 1; i < expected.size(); ++i) shown += tokenizer->piece(expected[i]);
  EXPECT_EQ(shown, sentence);
  // The rule looks at the bytes of each token.
  const auto opens = tokenizer->opens_word();
  for (size_t i = 1; i < expected.size(); ++i) {
    EXPECT_EQ(scored["boundary"][i].get<bool>(), opens[static_cast<size_t>(expected[i])] == 1) << i;
  }

  EXPECT_NE(run({"segment", "--model", path("run"), path("one.txt")}).find("baker"), std::string::npos);
  const auto end = tokenizer->display(tokenizer->end_of_text());
  const auto written = json::parse(run({"generate", "--model", path("run"), "--prompt", end + " dog", "--max-tokens",
                                        "20", "--temperature", "1", "--json"}));
  EXPECT_EQ(written["prompt_tokens"].get<size_t>(), 1 + tokenizer->encode_with_specials(end + " dog").size());
}

}  // namespace
}  // namespace dlcm
