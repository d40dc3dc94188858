// The report: its numbers in words, its page, and what it makes of hostile names and damaged runs.
#include "dlcm/analysis/report.h"

#include "dlcm/analysis/chart_data.h"
#include "dlcm/analysis/comparison.h"
#include "dlcm/analysis/html.h"
#include "dlcm/analysis/numbers.h"
#include "dlcm/analysis/report_samples.h"
#include "dlcm/analysis/web_assets.h"
#include "dlcm/util/utf8.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

#include <iterator>
#include <regex>
#include <set>

namespace dlcm::test {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The same text with plain spaces where lines must not break.
std::string spaced(std::string text) {
  for (size_t at = 0; (at = text.find("\u00A0", at)) != std::string::npos; ++at) text.replace(at, 2, " ");
  return text;
}

RunRecord validated(const std::string& name, const std::string& config,
                    const std::vector<std::pair<double, double>>& bits_by_tokens) {
  RunRecord run;
  run.name = name;
  run.config = synthetic_config({.config = config});
  run.tokenizer_hash = "tokenizer";
  run.data_hash = "data";
  for (const auto& [tokens, bits] : bits_by_tokens) {
    run.validation.push_back({.step = tokens, .tokens = tokens, .loss = bits, .bits_per_byte = bits});
  }
  return run;
}

std::string spaced_verdict(const RunRecord& run, const RunRecord& reference) { return spaced(verdict(run, reference)); }

// ---- points and escapes

TEST(Averaged, FewPointsStayAsTheyAre) {
  const auto points = averaged({{1, 10}, {2, 20}, {3, kUnknown}}, 2);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[1].y, 20);
}

TEST(Averaged, ManyPointsBecomeMeansOfAllOfThem) {
  std::vector<Point> points;
  for (int i = 0; i < 1003; ++i) points.push_back({static_cast<double>(i), 2.0 * i});
  const auto means = averaged(points, 100);
  ASSERT_EQ(means.size(), 100u);
  double sum = 0.0;
  for (size_t i = 0; i < means.size(); ++i) {
    EXPECT_DOUBLE_EQ(means[i].y, 2.0 * means[i].x);
    EXPECT_TRUE(i == 0 || means[i].x > means[i - 1].x);
    sum += means[i].x;
  }
  EXPECT_NEAR(sum / 100.0, 501.0, 1.0);
  EXPECT_TRUE(averaged({}, 100).empty());
}

TEST(Escape, HtmlHasNoMarkupAndNoBrokenCharactersLeft) {
  EXPECT_EQ(escape_html("<b class=\"x\">'&"), "&lt;b class=&quot;x&quot;&gt;&#39;&amp;");
  EXPECT_EQ(escape_html("\xFF ok"), "\xEF\xBF\xBD ok");
}

TEST(Escape, ScriptDataCannotEndItsElementAndStaysTheSameJson) {
  const nlohmann::json data{{"name", "</script><script>alert(1)</script><!--"}};
  const auto escaped = escape_script(data.dump());
  EXPECT_FALSE(has(escaped, "<"));
  EXPECT_EQ(nlohmann::json::parse(escaped), data);
}

TEST(Words, NumbersAreShort) {
  EXPECT_EQ(quantity(0), "0");
  EXPECT_EQ(quantity(812), "812");
  EXPECT_EQ(spaced(quantity(999.7)), "1 k");
  EXPECT_EQ(spaced(quantity(1234567)), "1.23 M");
  EXPECT_EQ(spaced(quantity(-3.1e15)), "−3.1 P");
  EXPECT_EQ(quantity(kUnknown), "–");
  EXPECT_EQ(spaced(duration(12.4)), "12 s");
  EXPECT_EQ(spaced(duration(200)), "3 min 20 s");
  EXPECT_EQ(spaced(duration(3900)), "1 h 05 min");
}

// ---- sentences

TEST(Verdict, NamesWhoIsAheadAndByHowMuch) {
  const auto model = validated("small", "tiny", {{6e5, 2.9}, {1.2e6, 2.31}});
  const auto baseline = validated("plain", "tiny-llama", {{6e5, 2.8}, {1.2e6, 2.29}});
  EXPECT_EQ(
      spaced_verdict(model, baseline),
      "After 1.2 M tokens, small (DLCM) reads 2.310 bits per byte and plain (baseline) 2.290: the baseline is ahead "
      "by 0.9 %.");
  const auto better = validated("small", "tiny", {{1.2e6, 2.0}});
  EXPECT_TRUE(has(spaced_verdict(better, baseline), ": DLCM is ahead by 13 %."));
}

TEST(Verdict, CallsATieLevel) {
  const auto baseline = validated("plain", "tiny-llama", {{1e6, 2.0}});
  EXPECT_TRUE(
      has(spaced_verdict(validated("small", "tiny", {{1e6, 2.0039}}), baseline), "they are level, within 0.2 %."));
  EXPECT_TRUE(
      has(spaced_verdict(validated("small", "tiny", {{1e6, 1.9961}}), baseline), "they are level, within 0.2 %."));
  EXPECT_TRUE(has(spaced_verdict(validated("small", "tiny", {{1e6, 2.0041}}), baseline), "the baseline is ahead"));
}

TEST(Verdict, UsesRunNamesForTwoRunsOfOneKind) {
  const auto text = spaced_verdict(validated("wide", "tiny", {{1e6, 1.8}}), validated("deep", "tiny", {{1e6, 2.0}}));
  EXPECT_TRUE(has(text, ": wide is ahead by 10 %."));
}

TEST(Verdict, ComparesOnlyAfterTheSameNumberOfTokens) {
  const auto longer = validated("small", "tiny", {{1e6, 2.4}, {2e6, 2.2}});
  const auto shorter = validated("plain", "tiny-llama", {{1e6, 2.2}});
  const auto text = spaced_verdict(longer, shorter);
  EXPECT_TRUE(has(text, "After 1 M tokens, small (DLCM) reads 2.400"));
  EXPECT_TRUE(has(text, "small goes on to 2 M tokens, so this is not its end."));
  const auto apart = spaced_verdict(longer, validated("plain", "tiny-llama", {{1.5e6, 2.2}}));
  EXPECT_TRUE(has(apart, "so they are not compared"));
  EXPECT_FALSE(has(apart, "ahead"));
}

TEST(Verdict, SaysWhereNothingWasValidated) {
  const auto text = spaced_verdict(validated("small", "tiny", {}), validated("plain", "tiny-llama", {{1e6, 2.2}}));
  EXPECT_EQ(text, "small (DLCM) has no validation yet, so there is nothing to compare.");
}

TEST(Verdict, SaysWhereTokenizersOrDataDiffer) {
  auto model = validated("small", "tiny", {{1e6, 2.4}});
  const auto baseline = validated("plain", "tiny-llama", {{1e6, 2.2}});
  EXPECT_FALSE(has(spaced_verdict(model, baseline), "differ"));
  model.data_hash = "other";
  EXPECT_TRUE(has(spaced_verdict(model, baseline), "trained on different data"));
  model.tokenizer_hash = "other";
  EXPECT_TRUE(has(spaced_verdict(model, baseline), "Their tokenizers differ"));
}

TEST(Verdict, StatesTheDifferenceInFlops) {
  auto model = validated("small", "tiny", {});
  const auto baseline = validated("plain", "tiny-llama", {});
  EXPECT_EQ(spaced(flops_verdict(model, baseline)), "small and plain spend the same FLOPs per token, within 1.0 %.");
  model.config->model.token.decoder_layers = 4;
  EXPECT_TRUE(std::regex_match(spaced(flops_verdict(model, baseline)),
                               std::regex("small spends [0-9]+ % more FLOPs .* plain\\.")));
  EXPECT_TRUE(std::regex_match(spaced(flops_verdict(baseline, model)),
                               std::regex("plain spends [0-9]+ % fewer FLOPs .* small\\.")));
  model.config.reset();
  EXPECT_EQ(flops_verdict(model, baseline), "");
}

TEST(ReferenceRun, IsTheFirstBaselineOrTheFirstRun) {
  const auto model = validated("small", "tiny", {});
  const auto baseline = validated("plain", "tiny-llama", {});
  EXPECT_EQ(reference_run({model, baseline, baseline}), 1u);
  EXPECT_EQ(reference_run({model, model}), 0u);
}

// ---- samples

TEST(Samples, BuiltInTextsAreWholeCharacters) {
  for (const auto& [title, text] : built_in_texts()) EXPECT_TRUE(is_utf8(text)) << title;
  EXPECT_EQ(built_in_texts().size(), 4u);
}

TEST(Samples, OfAFileEndAtAWholeCharacter) {
  const TemporaryDirectory directory;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "中";
  write_text(directory / "long.txt", text);
  EXPECT_EQ(text_of_file(directory / "long.txt").text, text.substr(0, 3 * kSampleCharacters));
  write_text(directory / "short.txt", "a\xFF");
  EXPECT_EQ(text_of_file(directory / "short.txt").text, "a\xFF");
  write_text(directory / "empty.txt", "");
  EXPECT_THROW(text_of_file(directory / "empty.txt"), Error);
  EXPECT_THROW(text_of_file(directory / "missing.txt"), Error);
}

TEST(Samples, ComeFromTheRunsCheckpoint) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "small", {.config = "tiny", .steps = 2});
  write_synthetic_run(directory / "plain", {.config = "tiny-llama", .steps = 2});
  const std::vector<SampleText> texts{{"a", "Some <b>text"}, {"b", "more"}};
  const auto model = sample_run(read_run(directory / "small"), texts, {"Once"});
  EXPECT_EQ(model.problem, "");
  ASSERT_EQ(model.segmentations.size(), 2u);
  EXPECT_TRUE(has(model.segmentations[0], "tokens per concept"));
  EXPECT_FALSE(has(model.segmentations[0], "<b>"));
  EXPECT_EQ(model.continuations.size(), 1u);
  const auto baseline = sample_run(read_run(directory / "plain"), texts, {"Once"});
  EXPECT_TRUE(baseline.segmentations.empty());
  EXPECT_EQ(baseline.continuations.size(), 1u);
}

TEST(Samples, DamagedWeightsAreAProblemOfTheirRun) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "small", {.steps = 2});
  const auto weights = (directory / "small") + "/step-00000002/model.safetensors";
  auto content = content_of(weights);
  content.back() ^= 1;
  write_text(weights, content);
  const auto samples = sample_run(read_run(directory / "small"), {{"a", "text"}}, {"Once"});
  EXPECT_TRUE(has(samples.problem, "model.safetensors"));
  EXPECT_TRUE(samples.segmentations.empty());
}

// ---- the page

Report report_of(const std::vector<std::string>& paths) {
  Report report;
  report.runs = read_runs(paths);
  report.texts = built_in_texts();
  report.prompts = built_in_prompts();
  for (const auto& run : report.runs) report.samples.push_back(sample_run(run, report.texts, report.prompts));
  return report;
}

// The content of the element that begins with `tag`; it must not hold its own end.
std::string element(const std::string& page, const std::string& tag) {
  const auto begin = page.find(tag);
  EXPECT_NE(begin, std::string::npos) << tag;
  const auto name = tag.substr(1, tag.find_first_of(" >") - 1);
  const auto end = page.find("</" + name, begin);
  EXPECT_NE(end, std::string::npos) << tag;
  return page.substr(begin + tag.size(), end - begin - tag.size());
}

nlohmann::json data_of(const std::string& page) {
  return nlohmann::json::parse(element(page, "<script type=\"application/json\" id=\"data\">"));
}

// The page without the content of <script> and <style>, and without comments.
std::string markup_of(const std::string& page) {
  std::string markup;
  for (size_t at = 0; at < page.size();) {
    for (const std::string name : {"script", "style"}) {
      if (page.compare(at, name.size() + 1, "<" + name) == 0) {
        const auto open_end = page.find('>', at) + 1;
        markup += page.substr(at, open_end - at);
        at = page.find("</" + name, open_end);
      }
    }
    markup += page[at++];
  }
  return markup;
}

// Fails where tags are not closed in the order they were opened, or an attribute is not quoted as dlcm writes it.
void expect_balanced(const std::string& markup) {
  const std::set<std::string> empty_elements{"meta", "input", "br", "path", "circle"};
  const std::regex tag("<(/?)([a-z0-9]+)((?: [a-z-]+(?:=\"[^\"<>]*\")?)*)/?>");
  std::vector<std::string> open;
  size_t num_tags = 0;
  for (std::sregex_iterator match(markup.begin(), markup.end(), tag), end; match != end; ++match) {
    ++num_tags;
    const auto name = (*match)[2].str();
    if (empty_elements.contains(name)) continue;
    if ((*match)[1].length() == 0) {
      open.push_back(name);
    } else {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name) << "before position " << match->position();
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
  // Every "<" is one of those tags or the doctype.
  EXPECT_EQ(static_cast<size_t>(std::count(markup.begin(), markup.end(), '<')), num_tags + 1);
}

// Fails where anything in the page could be fetched.
void expect_nothing_fetched(const std::string& page) {
  const auto markup = markup_of(page);
  const std::regex tag("<[^>]*>");
  std::string tags;
  for (std::sregex_iterator match(markup.begin(), markup.end(), tag), end; match != end; ++match) tags += match->str();
  for (const char* part : {"<link", "<img", "<iframe", "<object", "<embed", "<base", " src=", " onerror="}) {
    EXPECT_FALSE(has(tags, part));
  }
  const std::regex reference("href=\"([^\"]*)\"");
  for (std::sregex_iterator match(tags.begin(), tags.end(), reference), end; match != end; ++match) {
    EXPECT_EQ((*match)[1].str().front(), '#') << (*match)[1];
  }
  EXPECT_FALSE(has(element(page, "<style>"), "url("));
  EXPECT_FALSE(has(element(page, "<style>"), "@import"));
  EXPECT_TRUE(has(markup, "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\""));
}

TEST(Report, OfTwoRunsIsOneWellFormedPageThatFetchesNothing) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "small", {.config = "tiny", .final_bits_per_byte = 2.31});
  write_synthetic_run(directory / "plain", {.config = "tiny-llama", .final_bits_per_byte = 2.29});
  const auto page = spaced(report_page(report_of({directory / "small", directory / "plain"})));
  expect_balanced(markup_of(page));
  expect_nothing_fetched(page);
  EXPECT_FALSE(has(markup_of(page), "{{"));
  EXPECT_TRUE(is_utf8(page));
  EXPECT_TRUE(has(page, "<title>small and plain</title>"));
  EXPECT_TRUE(has(page,
                  "After 256 k tokens, small (DLCM) reads 2.310 bits per byte and plain (baseline) 2.290: "
                  "the baseline is ahead by 0.9 %."));
  EXPECT_TRUE(has(page, "class=\"segmentation\""));
  EXPECT_TRUE(has(page, "Once upon a time"));
  EXPECT_TRUE(has(page, "<code>model.kind</code>"));
  EXPECT_TRUE(has(page, "Chart.js Contributors"));
  EXPECT_TRUE(has(page, escape_html(web_assets::chart_licence())));
}

TEST(Report, DrawsAllValidationsAndFewPointsOfLongTraining) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "small",
                      {.config = "tiny", .steps = 5000, .eval_every_steps = 10, .checkpoint = false});
  write_synthetic_run(directory / "other", {.config = "tiny", .steps = 5000, .eval_every_steps = 20});
  const auto data = data_of(report_page(report_of({directory / "small", directory / "other"})));
  const auto& run = data.at("runs").at(0);
  EXPECT_EQ(run.at("name"), "small");
  EXPECT_TRUE(run.at("flops").is_null());
  EXPECT_TRUE(data.at("runs").at(1).at("flops").is_number());
  EXPECT_EQ(run.at("validation").size(), 500u);
  for (const char* line : {"loss", "ratio", "rate", "speed"}) {
    EXPECT_LE(run.at(line).size(), 400u) << line;
    EXPECT_GE(run.at(line).size(), 100u) << line;
  }
  // One run against the first, where both were validated.
  ASSERT_EQ(data.at("gaps").size(), 1u);
  EXPECT_EQ(data.at("gaps").at(0).at("points").size(), 250u);
}

TEST(Report, HostileNamesAndTextsAreShownAndNotRun) {
  const TemporaryDirectory directory;
  const std::string name = "<script>alert('x')<!-- {{style}} \xFF\"";
  write_synthetic_run(directory / name, {.config = "tiny", .steps = 60, .eval_every_steps = 20});
  auto report = report_of({directory / name});
  report.prompts = {"</p><img src=x onerror=alert(1)>"};
  report.samples[0].continuations = {"</script><script>"};
  report.texts[0].title = "<h1>";
  const auto page = report_page(report);
  expect_balanced(markup_of(page));
  expect_nothing_fetched(page);
  EXPECT_TRUE(is_utf8(page));
  EXPECT_TRUE(has(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;!-- {{style}} \xEF\xBF\xBD&quot;"));
  EXPECT_EQ(data_of(page).at("runs").at(0).at("name"), "<script>alert('x')<!-- {{style}} \xEF\xBF\xBD\"");
}

TEST(Report, OfARunWithoutCheckpointOrValidationSaysSo) {
  const TemporaryDirectory directory;
  write_text((directory / "young") + "/metrics.jsonl", "{\"step\":1,\"tokens\":8,\"loss\":5.5}\n");
  const auto page = report_page(report_of({directory / "young"}));
  expect_balanced(markup_of(page));
  EXPECT_TRUE(has(page, "young has no validation yet."));
  EXPECT_TRUE(has(page, "young: its configuration is not known"));
  EXPECT_TRUE(has(page, "No samples of young: there is no checkpoint to use."));
}

TEST(Report, DoesNotCompareLossesOfDifferentTokenizers) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "small",
                      {.config = "tiny", .steps = 60, .eval_every_steps = 20, .final_bits_per_byte = 2.0});
  write_synthetic_run(directory / "plain",
                      {.config = "tiny-llama", .steps = 60, .eval_every_steps = 20, .final_bits_per_byte = 2.5});
  auto report = report_of({directory / "small", directory / "plain"});
  const std::string loss_row = "Loss, nats per token</th><td>1.386</td><td>1.733</td><td>";
  EXPECT_TRUE(has(spaced(report_page(report)), loss_row + "−20 %"));
  report.runs[0].tokenizer_hash = "other";
  const auto page = report_page(report);
  EXPECT_TRUE(has(page, loss_row + "</td>"));
  EXPECT_TRUE(has(page, "their losses per token cannot be compared"));
}

TEST(WebAssets, AreTheFilesOfTheSourceTree) {
  const std::string web = DLCM_SOURCE_DIR "/web/";
  EXPECT_EQ(web_assets::report_page(), content_of(web + "report.html"));
  EXPECT_EQ(web_assets::report_style(), content_of(web + "report.css"));
  EXPECT_EQ(web_assets::report_script(), content_of(web + "report.js"));
  EXPECT_EQ(web_assets::chart_licence(), content_of(web + "chart-licence.txt"));
  EXPECT_TRUE(has(std::string(web_assets::chart_script().substr(0, 200)), "Chart.js v3"));
  EXPECT_FALSE(has(std::string(web_assets::chart_script()), "</script"));
}

}  // namespace
}  // namespace dlcm::test
