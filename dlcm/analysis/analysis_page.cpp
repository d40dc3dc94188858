// The tables and charts of `dlcm analyze`.
#include "dlcm/analysis/analyze.h"
#include "dlcm/analysis/numbers.h"
#include "dlcm/infer/evaluation.h"

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

constexpr double kInterval = 1.96;  // standard errors to either side of a 95 % interval
constexpr int64_t kFewTokens = 30;  // places with fewer tokens are left out of the chart

std::string place_name(size_t place) {
  return place < kConceptPlaces ? std::to_string(place) : fmt::format("{} and more", kConceptPlaces);
}

// visit(name of the text or "all", its statistics)
template <typename Visit>
void for_texts(const Analysis& analysis, const AnalysedModel& model, const Visit& visit) {
  for (size_t i = 0; i < analysis.texts.size(); ++i) visit(analysis.texts[i], model.by_text[i]);
  visit("all", model.all);
}

Table concepts_table(const Analysis& analysis) {
  Table table(
      {"text", "model", "target", "tokens", "concepts", "tokens_per_concept", "p10", "p50", "p90", "bits_per_byte"},
      {"text", "model", "target", "tokens", "concepts", "tokens per concept", "10 % of documents below", "median",
       "10 % above", "bits per byte"});
  for (const auto& model : analysis.models) {
    for_texts(analysis, model, [&](const std::string& text, const ConceptStatistics& statistics) {
      auto ratios = statistics.document_ratios;
      std::sort(ratios.begin(), ratios.end());
      const auto quantile = [&](double q) { return ratios.empty() ? kUnknown : quantile_of_sorted(ratios, q); };
      const auto two = decimals(2);
      const auto shown = [&](double value) { return std::isfinite(value) ? two(value) : std::string(kNothing); };
      table.add({text, model.name, csv_number(model.target_ratio), std::to_string(statistics.tokens),
                 std::to_string(statistics.concepts), csv_number(statistics.ratio()), csv_number(quantile(0.1)),
                 csv_number(quantile(0.5)), csv_number(quantile(0.9)), csv_number(statistics.bits_per_byte())},
                {text, model.name, fmt::format("{:g}", model.target_ratio), std::to_string(statistics.tokens),
                 std::to_string(statistics.concepts), two(statistics.ratio()), shown(quantile(0.1)),
                 shown(quantile(0.5)), shown(quantile(0.9)), decimals(4)(statistics.bits_per_byte())});
    });
  }
  return table;
}

Table position_table(const Analysis& analysis) {
  Table table({"text", "place", "tokens", "loss", "baseline_loss", "difference", "standard_error"},
              {"text", "place in concept", "tokens", "DLCM, nats", "baseline, nats", "difference", "± (95 %)"});
  for_texts(analysis, analysis.models.front(), [&](const std::string& text, const ConceptStatistics& statistics) {
    for (size_t place = 0; place <= kConceptPlaces; ++place) {
      const auto& at = statistics.by_place[place];
      if (at.tokens == 0) continue;
      const auto count = static_cast<double>(at.tokens);
      const double error = at.standard_error();
      std::vector<std::string> cells{
          text, place_name(place), std::to_string(at.tokens), csv_number(at.loss / count), "", "", ""};
      std::vector<std::string> shown{
          text, place_name(place), std::to_string(at.tokens), decimals(4)(at.loss / count), "", "", ""};
      if (analysis.baseline) {
        cells[4] = csv_number(at.baseline_loss / count);
        cells[5] = csv_number(at.difference());
        cells[6] = csv_number(error);
        shown[4] = decimals(4)(at.baseline_loss / count);
        shown[5] = decimals(4)(at.difference());
        shown[6] = std::isfinite(error) ? decimals(4)(kInterval * error) : std::string(kNothing);
      }
      table.add(std::move(cells), std::move(shown));
    }
  });
  return table;
}

Table scores_table(const Analysis& analysis) {
  Table table({"text", "model", "from", "to", "tokens"});
  for (const auto& model : analysis.models) {
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

PageSection concepts_section(const Analysis& analysis) {
  Chart chart{.title = "Tokens per concept by content",
              .note = "At each model's threshold; lines: the middle 80 % of documents.",
              .y = "tokens per concept",
              .wide = true,
              .y_begin = 0.0};
  chart.categories = analysis.texts;
  for (const auto& model : analysis.models) {
    ChartSeries series{.name = fmt::format("{}, target {:g}", model.name, model.target_ratio)};
    for (size_t i = 0; i < analysis.texts.size(); ++i) {
      auto ratios = model.by_text[i].document_ratios;
      std::sort(ratios.begin(), ratios.end());
      series.points.push_back({static_cast<double>(i), model.by_text[i].ratio()});
      series.intervals.push_back(ratios.empty()
                                     ? std::pair{kUnknown, kUnknown}
                                     : std::pair{quantile_of_sorted(ratios, 0.1), quantile_of_sorted(ratios, 0.9)});
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
               .note = "Of the token being predicted; place 0 opens the concept.",
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
    const double error = kInterval * at.standard_error();
    differences.series[0].intervals.emplace_back(at.difference() - error, at.difference() + error);
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
                   "often everywhere.",
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
               .note = "Share of all tokens by their score p, forced first tokens left out.",
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
    ChartSeries histogram{.name = model.name};
    const auto tokens = static_cast<double>(model.all.free_tokens().tokens);
    for (size_t bin = 0; bin < kScoreBins; ++bin) {
      histogram.points.push_back(
          {(static_cast<double>(bin) + 0.5) / kScoreBins, 100.0 * static_cast<double>(model.all.scores[bin]) / tokens});
    }
    scores.series.push_back(std::move(histogram));
  }
  return {.title = "Boundaries",
          .charts = {places, scores},
          .html_after = "<details><summary>By content</summary>" + places_table(analysis).html("Where concepts begin") +
                        "</details>\n"};
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

std::string position_verdict(const Analysis& analysis) {
  std::string better, worse;
  for (size_t place = 0; place < kConceptPlaces; ++place) {
    const auto& at = analysis.models.front().all.by_place[place];
    if (at.tokens < kFewTokens) continue;
    const double error = kInterval * at.standard_error();
    if (at.difference() + error < 0.0) better += (better.empty() ? "" : ", ") + std::to_string(place);
    if (at.difference() - error > 0.0) worse += (worse.empty() ? "" : ", ") + std::to_string(place);
  }
  return fmt::format(
      "Against {} on the same tokens it predicts better at places {} of its concepts and worse at places {} "
      "(beyond 95 % intervals over documents).",
      *analysis.baseline, better.empty() ? "none" : better, worse.empty() ? "none" : worse);
}

}  // namespace

std::vector<std::pair<std::string, Table>> analysis_tables(const Analysis& analysis) {
  std::vector<std::pair<std::string, Table>> tables{{"tokens_per_concept", concepts_table(analysis)},
                                                    {"loss_by_place", position_table(analysis)},
                                                    {"boundary_scores", scores_table(analysis)},
                                                    {"boundary_places", places_table(analysis)}};
  if (analysis.models.size() > 1) tables.emplace_back("agreement", agreement_table(analysis));
  if (analysis.run) tables.emplace_back("ratio_over_training", training_table(*analysis.run));
  return tables;
}

ChartPage analysis_page(const Analysis& analysis) {
  const auto& model = analysis.models.front();
  ChartPage page{.kind = "dlcm analyze", .title = fmt::format("The concepts of {}", model.name)};
  size_t shortest = 0, longest = 0;
  for (size_t i = 0; i < model.by_text.size(); ++i) {
    if (model.by_text[i].ratio() < model.by_text[shortest].ratio()) shortest = i;
    if (model.by_text[i].ratio() > model.by_text[longest].ratio()) longest = i;
  }
  page.verdicts.push_back(
      fmt::format("One concept covers {:.2f} tokens (target {:g}), from {:.2f} in {} to {:.2f} in {}.",
                  model.all.ratio(), model.target_ratio, model.by_text[shortest].ratio(), analysis.texts[shortest],
                  model.by_text[longest].ratio(), analysis.texts[longest]));
  if (analysis.baseline) page.verdicts.push_back(position_verdict(analysis));
  page.sections = {concepts_section(analysis), position_section(analysis), boundaries_section(analysis)};
  if (analysis.models.size() > 1) {
    page.sections.push_back({.title = "Agreement", .html = agreement_table(analysis).html("Agreement")});
  }
  if (analysis.run) page.sections.push_back(training_section(*analysis.run));
  return page;
}

}  // namespace dlcm
