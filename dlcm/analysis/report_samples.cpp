#include "dlcm/analysis/report_samples.h"

#include "dlcm/analysis/segmentation_view.h"
#include "dlcm/infer/generate.h"
#include "dlcm/infer/score.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <algorithm>

namespace dlcm {
namespace {

constexpr int64_t kLongestCharacterBytes = 4;
constexpr uint64_t kSeed = 1;

std::vector<std::string> segmented(Engine& engine, const std::vector<SampleText>& texts) {
  std::vector<std::string> contents;
  for (const auto& text : texts) contents.push_back(text.text);
  std::vector<std::string> fragments;
  for (const auto& document : score(engine, contents, engine.model().threshold())) {
    fragments.push_back(
        fmt::format("{}<p class=\"of\">{}</p>", segmentation_html(document), segmentation_summary({document})));
  }
  return fragments;
}

std::vector<std::string> continued(Engine& engine, const std::vector<std::string>& prompts) {
  GenerateSettings settings;
  settings.max_tokens = kContinuationTokens;
  settings.threshold = engine.model().threshold();
  settings.sampling.temperature = kContinuationTemperature;
  settings.sampling.seed = kSeed;
  std::vector<std::string> texts;
  for (const auto& prompt : prompts) texts.push_back(generate(engine, prompt, settings).text);
  return texts;
}

}  // namespace

std::vector<SampleText> built_in_texts() {
  return {
      {"English prose",
       "The ferry left the island just before noon, and by the time the last houses had sunk behind the hill, Martha "
       "had already decided not to go back. She had packed one suitcase, two books and the brass compass that had "
       "belonged to her grandfather. \"You will want it,\" he used to say, \"on the day you stop asking for the "
       "way.\""},
      {"Chinese prose",
       "清晨的雾还没有散去，老人已经推开了茶馆的木门。他先把炉火点上，再一张一张地擦桌子。第一位客人总是邮差，"
       "他不说话，只要一杯热茶，然后看着窗外的河水，慢慢地等太阳升起来。"},
      {"Code",
       "def longest_run(values):\n    \"\"\"Length of the longest stretch of equal neighbours.\"\"\"\n    best = "
       "current = 0\n    previous = object()\n    for value in values:\n        current = current + 1 if value == "
       "previous else 1\n        best = max(best, current)\n        previous = value\n    return best\n"},
      {"Mathematics",
       "Let $a$ and $b$ be positive real numbers with $a + b = 1$. Since $(a - b)^2 \\ge 0$, we have $4ab \\le (a + "
       "b)^2 = 1$, and therefore $ab \\le \\frac{1}{4}$, with equality exactly when $a = b = \\frac{1}{2}$. It "
       "follows that $\\frac{1}{a} + \\frac{1}{b} = \\frac{1}{ab} \\ge 4$."},
  };
}

std::vector<std::string> built_in_prompts() { return {"Once upon a time", "The most important thing about"}; }

SampleText text_of_file(const std::string& path) {
  const InputFile file(path);
  std::string bytes(static_cast<size_t>(std::min(file.bytes(), kSampleCharacters * kLongestCharacterBytes)), '\0');
  if (bytes.empty()) throw Error("expected text in {}, found none: give a file that is not empty", path);
  file.read(0, bytes.data(), static_cast<int64_t>(bytes.size()));
  size_t length = 0;
  for (int64_t character = 0; character < kSampleCharacters && length < bytes.size(); ++character) {
    length += std::max<size_t>(utf8_length(std::string_view(bytes).substr(length)), 1);
  }
  bytes.resize(length);
  return {path, std::move(bytes)};
}

RunSamples sample_run(const RunRecord& run, const std::vector<SampleText>& texts,
                      const std::vector<std::string>& prompts) {
  RunSamples samples;
  if (run.checkpoint.empty()) {
    samples.problem = "there is no checkpoint to use";
    return samples;
  }
  try {
    Engine engine(load_engine_model(run.checkpoint));
    if (engine.model().has_concepts()) samples.segmentations = segmented(engine, texts);
    samples.continuations = continued(engine, prompts);
  } catch (const Error& error) {
    samples = RunSamples{.segmentations = {}, .continuations = {}, .problem = error.what()};
  }
  return samples;
}

}  // namespace dlcm
