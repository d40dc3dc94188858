// The tables and charts of `dlcm analyze`.
#include "dlcm/analysis/analyze.h"
#include "dlcm/analysis/numbers.h"
#include "dlcm/analysis/run_table.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

constexpr double kInterval = 1.96;     // standard errors to either side of 95 % of a normal distribution
constexpr int64_t kFewTokens = 30;     // places with fewer tokens are left out of the chart
constexpr double kChanceShare = 0.05;  // of 95 % intervals lie beside the truth

// Characters of the longest names in a terminal's table, which leave room for the numbers.
constexpr size_t kTextCharacters = 12, kModelCharacters = 22;

std::string place_name(size_t place) {
  return place < kConceptPlaces ? std::to_string(place) : fmt::format("{} and more", kConceptPlaces);
}

// visit(name of the text or kAllTexts, its statistics)
template <typename Visit>
void for_texts(const Analysis& analysis, const AnalysedModel& model, const Visit& visit) {
  for (size_t i = 0; i < analysis.texts.size(); ++i) visit(analysis.texts[i].name, model.by_text[i]);
  visit(std::string(kAllTexts), model.all);
}

// The last characters of a text of more than `most`, an ellipsis before them.
std::string shortened(const std::string& text, size_t most) {
  std::vector<size_t> begins;
  for (size_t begin = 0; begin < text.size();
       begin += std::max<size_t>(1, utf8_length(std::string_view(text).substr(begin)))) {
    begins.push_back(begin);
  }
  return begins.size() <= most ? text : "…" + text.substr(begins[begins.size() - most + 1]);
}

Table concepts_table(const Analysis& analysis) {
  Table table({"text", "model", "target", "threshold", "tokens", "concepts", "tokens_per_concept", "p10", "p50", "p90",
               "bits_per_byte"},
              {"text", "model", "target", "threshold", "tokens", "concepts", "tokens per concept",
               "10 % of documents below", "median", "10 % above", "bits per byte"});
  const auto two = decimals(2);
  for (const auto& model : analysis.models) {
    const double threshold = model.has_scores ? model.threshold : kUnknown;
    for_texts(analysis, model, [&](const std::string& text, const ConceptStatistics& statistics) {
      const double p10 = statistics.ratio_quantile(0.1), p50 = statistics.ratio_quantile(0.5),
                   p90 = statistics.ratio_quantile(0.9);
      table.add({text, model.name, csv_number(model.target_ratio), csv_number(threshold),
                 std::to_string(statistics.tokens), std::to_string(statistics.concepts), csv_number(statistics.ratio()),
                 csv_number(p10), csv_number(p50), csv_number(p90), csv_number(statistics.bits_per_byte())},
                {text, model.name, fmt::format("{:g}", model.target_ratio), decimals(3)(threshold),
                 std::to_string(statistics.tokens), std::to_string(statistics.concepts), two(statistics.ratio()),
                 two(p10), two(p50), two(p90), decimals(4)(statistics.bits_per_byte())});
    });
  }
  return table;
}

Table position_table(const Analysis& analysis) {
  Table table(
      {"text", "place", "tokens", "documents", "loss", "baseline_loss", "difference", "standard_error", "half_width"},
      {"text", "place in concept", "tokens", "documents", "DLCM, nats", "baseline, nats", "difference",
       "standard error", "± (95 %)"});
  const auto four = decimals(4);
  for_texts(analysis, analysis.models.front(), [&](const std::string& text, const ConceptStatistics& statistics) {
    for (size_t place = 0; place <= kConceptPlaces; ++place) {
      const auto& at = statistics.by_place[place];
      if (at.tokens == 0) continue;
      const auto count = static_cast<double>(at.tokens);
      std::vector<std::string> cells{text, place_name(place), std::to_string(at.tokens), std::to_string(at.documents),
                                     csv_number(at.loss / count)};
      auto shown = cells;
      shown.back() = four(at.loss / count);
      for (const double value : {at.baseline_loss / count, at.difference(), at.standard_error(), at.half_width()}) {
        cells.push_back(csv_number(analysis.baseline ? value : kUnknown));
        shown.push_back(four(analysis.baseline ? value : kUnknown));
      }
      table.add(std::move(cells), std::move(shown));
    }
  });
  return table;
}

Table scores_table(const Analysis& analysis) {
  Table table({"text", "model", "from", "to", "tokens"});
  for (const auto& model : analysis.models) {
    if (!model.has_scores) continue;
    for_texts(analysis, model, [&](const std::string& text, const ConceptStatistics& statistics) {
      for (size_t bin = 0; bin < kScoreBins; ++bin) {
        const auto edge = [](size_t place) { return csv_number(static_cast<double>(place) / kScoreBins); };
        table.add({text, model.name, edge(bin), edge(bin + 1), std::to_string(statistics.scores[bin])});
      }
    });
  }
  return table;
}

// What a parser that draws at the model's own rate would do at `tokens` places.
struct RandomRate {
  double rate, low, high;
};
RandomRate random_rate(const ConceptStatistics& statistics, int64_t tokens) {
  const auto all = statistics.free_tokens();
  const double rate = static_cast<double>(all.boundaries) / static_cast<double>(all.tokens);
  const double error = kInterval * std::sqrt(rate * (1.0 - rate) / static_cast<double>(tokens));
  return {rate, std::max(0.0, rate - error), std::min(1.0, rate + error)};
}

Table places_table(const Analysis& analysis) {
  Table table(
      {"text", "model", "place", "tokens", "boundaries", "rate", "random_rate", "random_low", "random_high", "lift"},
      {"text", "model", "the token begins", "tokens", "boundaries", "rate", "random", "random, low", "random, high",
       "times random"});
  for (const auto& model : analysis.models) {
    for_texts(analysis, model, [&](const std::string& text, const ConceptStatistics& statistics) {
      for (size_t place = 0; place < kTextPlaces.size(); ++place) {
        const auto& count = statistics.by_text_place[place];
        if (count.tokens == 0) continue;
        const double rate = static_cast<double>(count.boundaries) / static_cast<double>(count.tokens);
        const auto random = random_rate(statistics, count.tokens);
        table.add({text, model.name, std::string(kTextPlaces[place]), std::to_string(count.tokens),
                   std::to_string(count.boundaries), csv_number(rate), csv_number(random.rate), csv_number(random.low),
                   csv_number(random.high), csv_number(rate / random.rate)},
                  {text, model.name, std::string(kTextPlaces[place]), std::to_string(count.tokens),
                   std::to_string(count.boundaries), percentage(rate), percentage(random.rate), percentage(random.low),
                   percentage(random.high), decimals(2)(rate / random.rate)});
      }
    });
  }
  return table;
}

Table agreement_table(const Analysis& analysis) {
  Table table(
      {"model", "other", "tokens", "rate", "other_rate", "shared", "chance", "kappa"},
      {"model", "other", "tokens", "rate", "its rate", "of the sparser's boundaries shared", "by chance", "Cohen's κ"});
  for (size_t i = 1; i < analysis.models.size(); ++i) {
    const auto& agreement = *analysis.models[i].agreement;
    const auto rate = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(agreement.tokens); };
    table.add({analysis.models.front().name, analysis.models[i].name, std::to_string(agreement.tokens),
               csv_number(rate(agreement.first)), csv_number(rate(agreement.second)), csv_number(agreement.shared()),
               csv_number(agreement.chance()), csv_number(agreement.kappa())},
              {analysis.models.front().name, analysis.models[i].name, std::to_string(agreement.tokens),
               percentage(rate(agreement.first)), percentage(rate(agreement.second)), percentage(agreement.shared()),
               percentage(agreement.chance()), decimals(3)(agreement.kappa())});
  }
  return table;
}

Table training_table(const RunRecord& run) {
  Table table({"step", "tokens", "sampled", "at_stored_threshold", "at_half", "p10", "p90", "kind"});
  for (const auto& point : run.training) {
    table.add({csv_number(point.step), csv_number(point.tokens), csv_number(point.ratio), csv_number(point.ratio_eval),
               "", "", "", "training"});
  }
  for (const auto& point : run.validation) {
    table.add({csv_number(point.step), csv_number(point.tokens), csv_number(point.ratio_sampled),
               csv_number(point.ratio), csv_number(point.ratio_half), csv_number(point.ratio_p10),
               csv_number(point.ratio_p90), "validation"});
  }
  return table;
}

// " Not counted in all: wiki."; empty where every text is counted.
std::string apart_note(const Analysis& analysis) {
  std::vector<std::string> names;
  for (const auto& text : analysis.texts) {
    if (text.apart) names.push_back(text.name);
  }
  return names.empty() ? "" : fmt::format(" Not counted in {}: {}.", kAllTexts, fmt::join(names, ", "));
}

PageSection concepts_section(const Analysis& analysis) {
  Chart chart{.title = "Tokens per concept by content",
              .note = "At each model's threshold; lines: the middle 80 % of documents." + apart_note(analysis),
              .y = "tokens per concept",
              .wide = true,
              .y_begin = 0.0};
  for (const auto& text : analysis.texts) chart.categories.push_back(text.name);
  for (const auto& model : analysis.models) {
    ChartSeries series{.name = fmt::format("{}, target {:g}", model.name, model.target_ratio)};
    for (size_t i = 0; i < analysis.texts.size(); ++i) {
      const auto& statistics = model.by_text[i];
      series.points.push_back({static_cast<double>(i), statistics.ratio()});
      series.intervals.emplace_back(statistics.ratio_quantile(0.1), statistics.ratio_quantile(0.9));
    }
    chart.series.push_back(std::move(series));
  }
  return {.title = "Concepts by content",
          .charts = {chart},
          .html_after = concepts_table(analysis).html("Tokens per concept")};
}

PageSection position_section(const Analysis& analysis) {
  const auto& statistics = analysis.models.front().all;
  Chart losses{.title = "Loss by place in the concept",
               .note = "Of the token being predicted; place 0 opens the concept, where that is the parser's choice." +
                       apart_note(analysis),
               .x = "place in the concept",
               .y = "nats per token",
               .series = {{.name = analysis.models.front().name}}};
  Chart differences{.title = "Against the baseline",
                    .note = "Same tokens; below zero the DLCM predicts better. Lines: 95 %, over documents.",
                    .x = "place in the concept",
                    .y = "difference, nats",
                    .series = {{.name = "difference"}}};
  if (analysis.baseline) losses.series.push_back({.name = *analysis.baseline});
  for (size_t place = 0; place < kConceptPlaces; ++place) {
    const auto& at = statistics.by_place[place];
    if (at.tokens < kFewTokens) continue;
    const auto count = static_cast<double>(at.tokens), x = static_cast<double>(place);
    losses.series[0].points.push_back({x, at.loss / count});
    if (!analysis.baseline) continue;
    losses.series[1].points.push_back({x, at.baseline_loss / count});
    differences.series[0].points.push_back({x, at.difference()});
    differences.series[0].intervals.emplace_back(at.difference() - at.half_width(), at.difference() + at.half_width());
  }
  PageSection section{.title = "Loss by place", .charts = {losses}};
  if (analysis.baseline) section.charts.push_back(differences);
  section.html_after = "<details><summary>All places and texts</summary>" +
                       position_table(analysis).html("Loss by place") + "</details>\n";
  return section;
}

PageSection boundaries_section(const Analysis& analysis) {
  Chart places{.title = "Where concepts begin",
               .note =
                   "How often a token of each kind opens a concept, in all texts; a random parser would do it equally "
                   "often everywhere." +
                   apart_note(analysis),
               .y = "opens a concept, %",
               .wide = true,
               .y_begin = 0.0};
  std::vector<size_t> shown;
  for (size_t place = 0; place < kTextPlaces.size(); ++place) {
    if (analysis.models.front().all.by_text_place[place].tokens < kFewTokens) continue;
    shown.push_back(place);
    places.categories.emplace_back(kTextPlaces[place]);
  }
  Chart scores{.title = "Boundary scores",
               .note = "Share of all tokens by their score p, forced first tokens left out." + apart_note(analysis),
               .x = "p",
               .y = "share of tokens, %",
               .y_begin = 0.0};
  for (const auto& model : analysis.models) {
    ChartSeries rates{.name = model.name}, random{.name = model.name + ", random", .scattered = true};
    for (size_t i = 0; i < shown.size(); ++i) {
      const auto& count = model.all.by_text_place[shown[i]];
      if (count.tokens == 0) continue;
      const auto expected = random_rate(model.all, count.tokens);
      rates.points.push_back(
          {static_cast<double>(i), 100.0 * static_cast<double>(count.boundaries) / static_cast<double>(count.tokens)});
      random.points.push_back({static_cast<double>(i), 100.0 * expected.rate});
      random.intervals.emplace_back(100.0 * expected.low, 100.0 * expected.high);
    }
    rates.colour = random.colour = static_cast<int64_t>(places.series.size() / 2);
    places.series.push_back(std::move(rates));
    places.series.push_back(std::move(random));
    if (!model.has_scores) continue;
    ChartSeries histogram{.name = model.name};
    const auto tokens = static_cast<double>(model.all.free_tokens().tokens);
    for (size_t bin = 0; bin < kScoreBins; ++bin) {
      histogram.points.push_back(
          {(static_cast<double>(bin) + 0.5) / kScoreBins, 100.0 * static_cast<double>(model.all.scores[bin]) / tokens});
    }
    scores.series.push_back(std::move(histogram));
  }
  PageSection section{.title = "Boundaries", .charts = {places}};
  if (!scores.series.empty()) section.charts.push_back(scores);
  section.html_after =
      "<details><summary>By content</summary>" + places_table(analysis).html("Where concepts begin") + "</details>\n";
  return section;
}

PageSection training_section(const RunRecord& run) {
  Chart chart{.title = "Tokens per concept over training",
              .note = "As sampled while training, and in validation at the stored threshold and at 0.5.",
              .x = "tokens",
              .y = "tokens per concept",
              .wide = true};
  constexpr size_t kMostPoints = 200;
  std::vector<Point> sampled, stored, half;
  for (const auto& point : run.training) sampled.push_back({point.tokens, point.ratio});
  for (const auto& point : run.validation) {
    stored.push_back({point.tokens, point.ratio});
    half.push_back({point.tokens, point.ratio_half});
  }
  chart.series = {{.name = "training", .points = averaged(sampled, kMostPoints)},
                  {.name = "validation, stored threshold", .points = averaged(stored, kMostPoints)},
                  {.name = "validation, threshold 0.5", .points = averaged(half, kMostPoints)}};
  if (run.config && !sampled.empty()) {
    const double target = run.config->parser.ratio;
    chart.series.push_back({.name = "target", .points = {{0.0, target}, {sampled.back().x, target}}, .dashed = true});
    chart.y_begin = 0.0;
    chart.y_end = 2.0 * target;  // the first steps may lie far above
  }
  return {.title = "Over training", .charts = {chart}};
}

// "at no place", "at place 3", "at places 0, 2".
std::string at_places(const std::vector<size_t>& places) {
  if (places.empty()) return "at no place";
  return fmt::format("at place{} {}", places.size() == 1 ? "" : "s", fmt::join(places, ", "));
}

// "1 document", "2 documents".
std::string counted(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string position_verdict(const Analysis& analysis) {
  const auto& places = analysis.models.front().all.by_place;
  std::vector<size_t> better, worse;
  int64_t tested = 0;
  for (size_t place = 0; place < kConceptPlaces; ++place) {
    const auto& at = places[place];
    if (at.tokens < kFewTokens || !std::isfinite(at.half_width())) continue;
    ++tested;
    if (at.difference() + at.half_width() < 0.0) better.push_back(place);
    if (at.difference() - at.half_width() > 0.0) worse.push_back(place);
  }
  if (tested == 0) {
    return fmt::format(
        "Whether it predicts better than {} on the same tokens one cannot tell: {} with concepts of the parser's own "
        "choice, too little for 95 % intervals.",
        *analysis.baseline, counted(places.front().documents, "document"));
  }
  return fmt::format(
      "Against {} on the same tokens it predicts better {} of its concepts and worse {} (beyond 95 % intervals over "
      "documents); of {} about {:.0f} would differ by chance.",
      *analysis.baseline, at_places(better), at_places(worse), counted(tested, "place"),
      std::round(kChanceShare * static_cast<double>(tested)));
}

// "One concept covers 4.10 tokens (target 4; threshold 0.518; asked for 5 tokens per concept), from 3.50 in code to
// 5.20 in prose."
std::string ratio_verdict(const Analysis& analysis) {
  const auto& model = analysis.models.front();
  auto text = fmt::format("One concept covers {:.2f} tokens (target {:g}", model.all.ratio(), model.target_ratio);
  if (model.has_scores) text += fmt::format("; threshold {:.3f}", model.threshold);
  if (analysis.asked_ratio) text += fmt::format("; asked for {:g} tokens per concept", *analysis.asked_ratio);
  std::vector<std::pair<double, std::string>> ratios;
  for (size_t i = 0; i < analysis.texts.size(); ++i) {
    if (!analysis.texts[i].apart) ratios.emplace_back(model.by_text[i].ratio(), analysis.texts[i].name);
  }
  if (ratios.size() < 2) return text + ").";
  const auto [shortest, longest] = std::minmax_element(ratios.begin(), ratios.end());
  return text + fmt::format("), from {:.2f} in {} to {:.2f} in {}.", shortest->first, shortest->second, longest->first,
                            longest->second);
}

}  // namespace

std::vector<std::pair<std::string, Table>> analysis_tables(const Analysis& analysis) {
  const auto& [of_concepts, of_positions, of_scores, of_places, of_agreement, of_training] = kAnalysisTables;
  std::vector<std::pair<std::string, Table>> tables;
  tables.emplace_back(of_concepts, concepts_table(analysis));
  tables.emplace_back(of_positions, position_table(analysis));
  if (auto scores = scores_table(analysis); scores.rows() > 0) tables.emplace_back(of_scores, std::move(scores));
  tables.emplace_back(of_places, places_table(analysis));
  if (analysis.models.size() > 1) tables.emplace_back(of_agreement, agreement_table(analysis));
  if (analysis.run) tables.emplace_back(of_training, training_table(*analysis.run));
  return tables;
}

ChartPage analysis_page(const Analysis& analysis) {
  ChartPage page{.kind = "dlcm analyze", .title = fmt::format("The concepts of {}", analysis.models.front().name)};
  page.verdicts.push_back(ratio_verdict(analysis));
  if (analysis.baseline) page.verdicts.push_back(position_verdict(analysis));
  page.sections = {concepts_section(analysis), position_section(analysis), boundaries_section(analysis)};
  if (analysis.models.size() > 1) {
    page.sections.push_back({.title = "Agreement", .html = agreement_table(analysis).html("Agreement")});
  }
  if (analysis.run) page.sections.push_back(training_section(*analysis.run));
  if (!analysis.training_problem.empty()) {
    page.sections.push_back({.title = "Over training", .html = note("Not shown: " + analysis.training_problem + ".")});
  }
  return page;
}

std::string analysis_text(const Analysis& analysis) {
  Table table({"text", "model", "tokens", "ratio", "p10", "p90", "bits/byte"});
  const auto two = decimals(2);
  for (const auto& model : analysis.models) {
    for_texts(analysis, model, [&](const std::string& text, const ConceptStatistics& statistics) {
      table.add({shortened(text, kTextCharacters), shortened(model.name, kModelCharacters),
                 std::to_string(statistics.tokens), two(statistics.ratio()), two(statistics.ratio_quantile(0.1)),
                 two(statistics.ratio_quantile(0.9)), decimals(4)(statistics.bits_per_byte())});
    });
  }
  return table.text();
}

}  // namespace dlcm
