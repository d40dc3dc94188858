#include "dlcm/analysis/report.h"

#include "dlcm/analysis/report_samples.h"
#include "dlcm/analysis/segmentation_view.h"
#include "dlcm/analysis/web_assets.h"
#include "dlcm/infer/text_stream.h"
#include "dlcm/model/flops.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

// Points of a drawn line at most, and of a line whose neighbours are averaged to calm it.
constexpr size_t kMostPoints = 400;
constexpr size_t kMostSmoothPoints = 160;
constexpr double kMatchedShare = 0.01;  // within it FLOPs per token count as the same
constexpr size_t kNumColours = 6;       // --run-0 ... of report.css
constexpr std::string_view kNothing = "–";
constexpr std::string_view kMinus = "−";
constexpr std::string_view kSpace = "\u00A0";  // between a number and its unit: no line breaks there

// ---- numbers in words

std::string with_minus(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, kMinus);
  return text;
}

// The size of a share as a percentage: "0.9 %", "12 %".
std::string percentage(double share) {
  const double percent = 100.0 * std::abs(share);
  return fmt::format("{:.{}f}{}%", percent, percent < 9.95 ? 1 : 0, kSpace);
}

std::string signed_percentage(double share) {
  const auto text = percentage(share);
  if (text.starts_with("0.0")) return text;
  return fmt::format("{}{}", share < 0.0 ? kMinus : "+", text);
}

std::function<std::string(double)> decimals(int digits) {
  return [digits](double value) { return with_minus(fmt::format("{:.{}f}", value, digits)); };
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return kUnknown;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The last finite value of a field; kUnknown where there is none.
template <typename Line>
double last_value(const std::vector<Line>& lines, double Line::*field) {
  const auto found =
      std::find_if(lines.rbegin(), lines.rend(), [&](const Line& line) { return std::isfinite(line.*field); });
  return found == lines.rend() ? kUnknown : (*found).*field;
}

double last_tokens(const RunRecord& run) {
  const double training = last_value(run.training, &TrainingPoint::tokens);
  return std::isfinite(training) ? training : last_value(run.validation, &ValidationPoint::tokens);
}

// ---- sentences

std::string_view kind_in_words(const RunRecord& run) {
  if (!run.config) return "unknown";
  return run.is_baseline() ? "baseline" : "DLCM";
}

// "small (DLCM)".
std::string introduced(const RunRecord& run) {
  return run.config ? fmt::format("{} ({})", run.name, kind_in_words(run)) : run.name;
}

bool is_pair(const RunRecord& run, const RunRecord& reference) {
  return run.config && reference.config && run.is_baseline() != reference.is_baseline();
}

// The leader as the sentence about a pair or about two runs of one kind calls it.
std::string leader(const RunRecord& leading, const RunRecord& other) {
  if (!is_pair(leading, other)) return leading.name;
  return leading.is_baseline() ? "the baseline" : "DLCM";
}

const ValidationPoint* last_validation(const RunRecord& run) {
  const auto found = std::find_if(run.validation.rbegin(), run.validation.rend(), [](const ValidationPoint& point) {
    return std::isfinite(point.tokens) && std::isfinite(point.bits_per_byte);
  });
  return found == run.validation.rend() ? nullptr : &*found;
}

// Bits per byte of two runs after the same number of tokens.
struct Pair {
  double tokens;
  double run;
  double reference;

  double difference() const { return run / reference - 1.0; }
};

// Every validation that both runs made after the same number of tokens, in this order.
std::vector<Pair> common_validations(const RunRecord& run, const RunRecord& reference) {
  std::map<double, double> of_reference;
  for (const auto& point : reference.validation) {
    if (std::isfinite(point.tokens) && std::isfinite(point.bits_per_byte) && point.bits_per_byte > 0.0) {
      of_reference[point.tokens] = point.bits_per_byte;
    }
  }
  std::vector<Pair> pairs;
  for (const auto& point : run.validation) {
    const auto found = of_reference.find(point.tokens);
    if (found != of_reference.end() && std::isfinite(point.bits_per_byte)) {
      pairs.push_back({point.tokens, point.bits_per_byte, found->second});
    }
  }
  return pairs;
}

// One run alone.
std::string standing(const RunRecord& run) {
  const auto* last = last_validation(run);
  if (last == nullptr) return fmt::format("{} has no validation yet.", introduced(run));
  auto text = fmt::format("After {} tokens, {} reads {:.3f} bits per byte", quantity(last->tokens), introduced(run),
                          last->bits_per_byte);
  if (!run.is_baseline() && std::isfinite(last->ratio)) {
    text += fmt::format(" and makes one concept of {:.2f} tokens", last->ratio);
    if (run.config) text += fmt::format(" (target {:g})", run.config->parser.ratio);
  }
  return text + ".";
}

bool tokenizers_equal(const RunRecord& run, const RunRecord& reference) {
  return !run.tokenizer_hash.empty() && run.tokenizer_hash == reference.tokenizer_hash;
}

// ---- HTML

std::string colour_of(size_t run) { return fmt::format("style=\"--colour:var(--run-{})\"", run % kNumColours); }

std::string run_heading(const Report& report, size_t run) {
  return fmt::format("<span class=\"swatch\" {}></span>{}", colour_of(run), escape_html(report.runs[run].name));
}

std::string note(std::string_view text) { return fmt::format("<p class=\"note\">{}</p>\n", escape_html(text)); }

std::string verdicts_html(const std::vector<RunRecord>& runs) {
  std::vector<std::string> sentences;
  std::vector<std::string> notes;
  const size_t reference = reference_run(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i == reference && runs.size() > 1) continue;
    sentences.push_back(i == reference ? standing(runs[i]) : verdict(runs[i], runs[reference]));
    if (i != reference) notes.push_back(flops_verdict(runs[i], runs[reference]));
  }
  std::string html;
  if (sentences.size() == 1) {
    html = fmt::format("<p class=\"verdict\">{}</p>\n", escape_html(sentences.front()));
  } else {
    html = "<ul class=\"verdict\">\n";
    for (const auto& sentence : sentences) html += fmt::format("<li>{}</li>\n", escape_html(sentence));
    html += "</ul>\n";
  }
  if (runs.size() > 1) notes.push_back("How much another seed would change these numbers is not part of this report.");
  std::string line;
  for (const auto& text : notes) {
    if (!text.empty()) line += (line.empty() ? "" : " ") + text;
  }
  return line.empty() ? html : html + note(line);
}

// The table of runs: a row a fact, a column a run and, for two runs, one for their difference.
class RunTable {
 public:
  explicit RunTable(const Report& report) : report_(report), reference_(reference_run(report.runs)) {}

  void begin_group(std::string_view title) {
    if (open_) rows_ += "</tbody>\n";
    open_ = true;
    rows_ += fmt::format("<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>\n",
                         report_.runs.size() + 1 + (has_difference() ? 1 : 0), title);
  }

  void words(std::string_view label, const std::function<std::string(const RunRecord&)>& cell) {
    rows_ += fmt::format("<tr><th scope=\"row\">{}</th>", label);
    for (const auto& run : report_.runs) rows_ += fmt::format("<td class=\"words\">{}</td>", escape_html(cell(run)));
    rows_ += has_difference() ? "<td></td></tr>\n" : "</tr>\n";
  }

  enum class Row { plain, compared, main };
  void number(std::string_view label, Row kind, const std::function<std::string(double)>& format,
              const std::function<double(const RunRecord&)>& value) {
    rows_ += fmt::format("<tr{}><th scope=\"row\">{}</th>", kind == Row::main ? " class=\"main\"" : "", label);
    std::vector<double> values;
    for (const auto& run : report_.runs) {
      values.push_back(value(run));
      rows_ += fmt::format("<td>{}</td>", std::isfinite(values.back()) ? format(values.back()) : kNothing);
    }
    if (has_difference()) {
      const double share = values[1 - reference_] / values[reference_] - 1.0;
      rows_ += fmt::format("<td>{}</td>",
                           kind != Row::plain && std::isfinite(share) ? signed_percentage(share) : std::string());
    }
    rows_ += "</tr>\n";
  }

  std::string html() const {
    auto head = std::string("<thead><tr><th scope=\"col\"><span class=\"unseen\">Fact</span></th>");
    for (size_t i = 0; i < report_.runs.size(); ++i) {
      head += fmt::format("<th scope=\"col\">{}</th>", run_heading(report_, i));
    }
    if (has_difference()) head += "<th scope=\"col\">difference</th>";
    return fmt::format(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table>{}</tr></thead>\n{}</tbody>"
        "</table></div>\n",
        head, rows_);
  }

 private:
  bool has_difference() const { return report_.runs.size() == 2; }

  const Report& report_;
  size_t reference_;
  bool open_ = false;
  std::string rows_;
};

bool all_tokenizers_equal(const std::vector<RunRecord>& runs) {
  return std::all_of(runs.begin(), runs.end(),
                     [&](const RunRecord& run) { return tokenizers_equal(run, runs.front()); });
}

std::string token_layers(const RunRecord& run) {
  if (!run.config) return std::string(kNothing);
  const auto& token = run.config->model.token;
  if (run.is_baseline()) return fmt::format("{} of width {}", token.layers, token.width);
  return fmt::format("{} + {} of width {}", token.encoder_layers, token.decoder_layers, token.width);
}

std::string concept_layers(const RunRecord& run) {
  if (!run.config || run.is_baseline()) return std::string(kNothing);
  const auto& concepts = run.config->model.concepts;
  return fmt::format("{} of width {}", concepts.layers, concepts.width);
}

std::string runs_html(const Report& report) {
  using Row = RunTable::Row;
  const auto& runs = report.runs;
  const auto validated = [](double ValidationPoint::*field) {
    return [field](const RunRecord& run) { return last_value(run.validation, field); };
  };
  const auto trained = [](double TrainingPoint::*field) {
    return [field](const RunRecord& run) { return last_value(run.training, field); };
  };
  const auto usual = [](double TrainingPoint::*field) {
    return [field](const RunRecord& run) {
      std::vector<double> values;
      for (const auto& point : run.training) values.push_back(point.*field);
      return median(std::move(values));
    };
  };
  const auto of_concepts = [](const std::function<double(const RunRecord&)>& value) {
    return [value](const RunRecord& run) { return run.is_baseline() ? kUnknown : value(run); };
  };
  const auto configured = [](const std::function<double(const Config&)>& value) {
    return [value](const RunRecord& run) { return run.config ? value(*run.config) : kUnknown; };
  };
  const bool comparable_losses = all_tokenizers_equal(runs);

  RunTable table(report);
  table.begin_group("Result, last validation");
  table.number("Bits per byte", Row::main, decimals(3), validated(&ValidationPoint::bits_per_byte));
  table.number("Loss, nats per token", comparable_losses ? Row::compared : Row::plain, decimals(3),
               validated(&ValidationPoint::loss));
  table.begin_group("Model");
  table.words("Kind", [](const RunRecord& run) { return std::string(kind_in_words(run)); });
  table.words("Token layers", token_layers);
  table.words("Concept layers", concept_layers);
  table.number("Parameters", Row::compared, quantity,
               configured([](const Config& config) { return static_cast<double>(count_parameters(config).total()); }));
  table.number("Non-embedding parameters", Row::compared, quantity, configured([](const Config& config) {
                 return static_cast<double>(count_parameters(config).non_embedding());
               }));
  table.number("Forward FLOPs per token", Row::compared, quantity,
               configured([](const Config& config) { return expected_flops_per_token(config).total(); }));
  table.begin_group("Training");
  table.words("Steps", [](const RunRecord& run) {
    const double steps = last_value(run.training, &TrainingPoint::step);
    if (!std::isfinite(steps)) return std::string(kNothing);
    return run.config ? fmt::format("{:.0f} of {}", steps, run.config->train.steps) : fmt::format("{:.0f}", steps);
  });
  table.number("Tokens", Row::compared, quantity, last_tokens);
  table.number("Time", Row::compared, duration, trained(&TrainingPoint::seconds));
  table.number("Tokens per second, median", Row::compared, quantity, usual(&TrainingPoint::tokens_per_second));
  table.number("MFU, median", Row::plain, percentage, usual(&TrainingPoint::mfu));
  if (std::any_of(runs.begin(), runs.end(), [](const RunRecord& run) { return !run.is_baseline(); })) {
    table.begin_group("Tokens per concept, last validation");
    table.number(
        "Target", Row::plain, [](double value) { return fmt::format("{:g}", value); },
        of_concepts(configured([](const Config& config) { return config.parser.ratio; })));
    table.number("At the stored threshold", Row::main, decimals(2), of_concepts(validated(&ValidationPoint::ratio)));
    table.number("10 % of documents below", Row::plain, decimals(2),
                 of_concepts(validated(&ValidationPoint::ratio_p10)));
    table.number("10 % of documents above", Row::plain, decimals(2),
                 of_concepts(validated(&ValidationPoint::ratio_p90)));
    table.number("At threshold 0.5", Row::plain, decimals(2), of_concepts(validated(&ValidationPoint::ratio_half)));
    table.number("As sampled", Row::plain, decimals(2), of_concepts(validated(&ValidationPoint::ratio_sampled)));
  }
  auto html = table.html();
  if (runs.size() == 2) {
    const size_t reference = reference_run(runs);
    html += note(fmt::format("Difference: {} relative to {}.", runs[1 - reference].name, runs[reference].name));
  }
  if (!comparable_losses && runs.size() > 1) {
    html += note(
        "The runs are not known to share one tokenizer, so their losses per token cannot be compared; bits per byte "
        "can.");
  }
  for (const auto& run : runs) {
    if (!run.problem.empty()) {
      html += note(fmt::format("{}: its configuration is not known, because there is no checkpoint to use: {}.",
                               run.name, run.problem));
    }
  }
  return html;
}

// The numbers of the validation charts.
std::string validations_html(const Report& report) {
  std::string html;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const auto& run = report.runs[i];
    if (run.validation.empty()) continue;
    html += fmt::format("<details><summary>All validations of {}</summary>\n", escape_html(run.name));
    html += fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Validations of {}\"><table>",
                        escape_html(run.name));
    html +=
        "<thead><tr><th scope=\"col\">step</th><th scope=\"col\">tokens</th><th scope=\"col\">bits per byte</th>"
        "<th scope=\"col\">loss</th>";
    if (!run.is_baseline()) {
      html +=
          "<th scope=\"col\">tokens per concept</th><th scope=\"col\">at 0.5</th><th scope=\"col\">10 % below</th>"
          "<th scope=\"col\">10 % above</th>";
    }
    html += "</tr></thead>\n<tbody>\n";
    const auto cell = [](double value, int digits) {
      return fmt::format("<td>{}</td>", std::isfinite(value) ? decimals(digits)(value) : std::string(kNothing));
    };
    for (const auto& point : run.validation) {
      html += fmt::format("<tr><th scope=\"row\">{:.0f}</th><td>{}</td>", point.step, quantity(point.tokens));
      html += cell(point.bits_per_byte, 4) + cell(point.loss, 4);
      if (!run.is_baseline()) {
        html += cell(point.ratio, 2) + cell(point.ratio_half, 2) + cell(point.ratio_p10, 2) + cell(point.ratio_p90, 2);
      }
      html += "</tr>\n";
    }
    html += "</tbody></table></div></details>\n";
  }
  return html;
}

// A block of one run inside a sample.
std::string block(const Report& report, size_t run, const std::string& content) {
  return fmt::format("<div class=\"block\" {}><p class=\"of\">{}</p>{}</div>\n", colour_of(run),
                     escape_html(report.runs[run].name), content);
}

// Why runs have no samples.
std::string sample_problems(const Report& report) {
  std::string html;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    if (!report.samples[i].problem.empty()) {
      html += note(fmt::format("No samples of {}: {}.", report.runs[i].name, report.samples[i].problem));
    }
  }
  return html;
}

std::string segmentations_html(const Report& report) {
  std::string html;
  for (size_t text = 0; text < report.texts.size(); ++text) {
    std::string blocks;
    for (size_t run = 0; run < report.runs.size(); ++run) {
      const auto& segmentations = report.samples[run].segmentations;
      if (!segmentations.empty()) blocks += block(report, run, segmentations.at(text));
    }
    if (!blocks.empty()) {
      html +=
          fmt::format("<div class=\"sample\"><h3>{}</h3>\n{}</div>\n", escape_html(report.texts[text].title), blocks);
    }
  }
  html = note(html.empty()
                  ? "No run here has a model with concepts to show."
                  : "Each change of colour begins a concept. Point at a concept to see the score p that began it.") +
         html;
  return html + sample_problems(report);
}

std::string continuations_html(const Report& report) {
  std::string html;
  for (size_t prompt = 0; prompt < report.prompts.size(); ++prompt) {
    std::string blocks;
    for (size_t run = 0; run < report.runs.size(); ++run) {
      const auto& continuations = report.samples[run].continuations;
      if (continuations.empty()) continue;
      blocks += block(report, run,
                      fmt::format("<p class=\"text\"><b>{}</b>{}</p>", escape_html(report.prompts[prompt]),
                                  escape_html(continuations.at(prompt))));
    }
    if (!blocks.empty()) html += fmt::format("<div class=\"sample\">\n{}</div>\n", blocks);
  }
  html = note(html.empty() ? "No run here has a model to generate with."
                           : fmt::format("At most {} tokens after each prompt, drawn at temperature {}.",
                                         kContinuationTokens, kContinuationTemperature)) +
         html;
  return html + sample_problems(report);
}

std::string configuration_html(const Report& report) {
  std::vector<size_t> known;
  std::vector<std::vector<ConfigEntry>> entries;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    if (!report.runs[i].config) continue;
    known.push_back(i);
    entries.push_back(config_entries(*report.runs[i].config));
  }
  std::string html;
  if (known.size() > 1) {
    std::string rows;
    for (size_t entry = 0; entry < entries.front().size(); ++entry) {
      const auto& first = entries.front()[entry].value;
      if (std::all_of(entries.begin(), entries.end(),
                      [&](const auto& of_run) { return of_run[entry].value == first; })) {
        continue;
      }
      rows += fmt::format("<tr><th scope=\"row\"><code>{}</code></th>", escape_html(entries.front()[entry].key));
      for (const auto& of_run : entries) {
        rows += fmt::format("<td class=\"value\">{}</td>", escape_html(of_run[entry].value));
      }
      rows += "</tr>\n";
    }
    if (rows.empty()) {
      html += note("The configurations are the same.");
    } else {
      html += note("Where the configurations differ:");
      html +=
          "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Differences\"><table><thead><tr>"
          "<th scope=\"col\">setting</th>";
      for (const size_t i : known) html += fmt::format("<th scope=\"col\">{}</th>", run_heading(report, i));
      html += fmt::format("</tr></thead>\n<tbody>\n{}</tbody></table></div>\n", rows);
    }
  }
  for (const size_t i : known) {
    html += fmt::format("<details><summary>All of {}</summary><pre>{}</pre></details>\n",
                        escape_html(report.runs[i].name), escape_html(to_toml(*report.runs[i].config)));
  }
  return html.empty() ? note("No run here has a configuration to show.") : html;
}

// ---- numbers for the charts

// Six significant digits are more than a chart can show; no number is null.
ordered_json drawn(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::stod(fmt::format("{:.6g}", value));
}

ordered_json drawn(const std::vector<Point>& points) {
  auto list = ordered_json::array();
  for (const auto& point : points) list.push_back({drawn(point.x), drawn(point.y)});
  return list;
}

ordered_json line(const RunRecord& run, double TrainingPoint::*x, double TrainingPoint::*y, size_t most) {
  std::vector<Point> points;
  for (const auto& point : run.training) points.push_back({point.*x, point.*y});
  return drawn(averaged(points, most));
}

std::string chart_data(const Report& report) {
  ordered_json data;
  data["runs"] = ordered_json::array();
  for (const auto& run : report.runs) {
    const bool has_concepts = !run.is_baseline();
    const auto flops = run.training_flops_per_token();
    auto validations = ordered_json::array();
    for (const auto& point : run.validation) {
      // The columns that report.js names.
      const auto of_concepts = [&](double value) { return drawn(has_concepts ? value : kUnknown); };
      validations.push_back({drawn(point.step), drawn(point.tokens), drawn(point.bits_per_byte),
                             of_concepts(point.ratio), of_concepts(point.ratio_half), of_concepts(point.ratio_p10),
                             of_concepts(point.ratio_p90)});
    }
    data["runs"].push_back(
        {{"name", valid_utf8(run.name)},
         {"flops", flops ? drawn(*flops) : ordered_json()},
         {"target", has_concepts && run.config ? drawn(run.config->parser.ratio) : ordered_json()},
         {"validation", validations},
         {"loss", line(run, &TrainingPoint::tokens, &TrainingPoint::loss, kMostSmoothPoints)},
         {"ratio",
          has_concepts ? line(run, &TrainingPoint::step, &TrainingPoint::ratio, kMostPoints) : ordered_json::array()},
         {"rate", line(run, &TrainingPoint::tokens, &TrainingPoint::lr, kMostPoints)},
         {"speed", line(run, &TrainingPoint::tokens, &TrainingPoint::tokens_per_second, kMostSmoothPoints)}});
  }
  data["gaps"] = ordered_json::array();
  const size_t reference = reference_run(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    if (i == reference) continue;
    std::vector<Point> points;
    for (const auto& pair : common_validations(report.runs[i], report.runs[reference])) {
      points.push_back({pair.tokens, 100.0 * pair.difference()});
    }
    if (!points.empty()) data["gaps"].push_back({{"run", i}, {"points", drawn(points)}});
  }
  return data.dump();
}

// ---- the page

std::string title_of(const std::vector<RunRecord>& runs) {
  std::string title;
  for (size_t i = 0; i < runs.size(); ++i) {
    title += (i == 0 ? "" : i + 1 == runs.size() ? " and " : ", ") + runs[i].name;
  }
  return title;
}

// Puts `values` in the {{places}} of a template, once: what is put in is not searched.
std::string filled(std::string_view page, const std::map<std::string_view, std::string>& values) {
  std::string result;
  while (true) {
    const size_t begin = page.find("{{");
    result.append(page.substr(0, begin));
    if (begin == std::string_view::npos) return result;
    const size_t end = page.find("}}", begin);
    TORCH_CHECK(end != std::string_view::npos, "report.html has an open {{");
    const auto found = values.find(page.substr(begin + 2, end - begin - 2));
    TORCH_CHECK(found != values.end(), "report.html names an unknown place");
    result += found->second;
    page.remove_prefix(end + 2);
  }
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '\0':
        result += "\xEF\xBF\xBD";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string escape_script(std::string_view json) {
  std::string result;
  for (const char c : json) {
    if (c == '<') {
      result += "\\u003c";
    } else {
      result += c;
    }
  }
  return result;
}

std::vector<Point> averaged(const std::vector<Point>& points, size_t most) {
  std::vector<Point> finite;
  std::copy_if(points.begin(), points.end(), std::back_inserter(finite),
               [](const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); });
  if (finite.size() <= most) return finite;
  std::vector<Point> means;
  for (size_t bucket = 0; bucket < most; ++bucket) {
    const size_t begin = bucket * finite.size() / most;
    const size_t end = (bucket + 1) * finite.size() / most;
    Point sum;
    for (size_t i = begin; i < end; ++i) {
      sum.x += finite[i].x;
      sum.y += finite[i].y;
    }
    const auto count = static_cast<double>(end - begin);
    means.push_back({sum.x / count, sum.y / count});
  }
  return means;
}

std::string verdict(const RunRecord& run, const RunRecord& reference) {
  const auto* last_of_run = last_validation(run);
  const auto* last_of_reference = last_validation(reference);
  if (last_of_run == nullptr || last_of_reference == nullptr) {
    return fmt::format("{} has no validation yet, so there is nothing to compare.",
                       introduced(last_of_run == nullptr ? run : reference));
  }
  const auto pairs = common_validations(run, reference);
  if (pairs.empty()) {
    return fmt::format(
        "{} and {} were never validated after the same number of tokens, so they are not compared: the one reads "
        "{:.3f} "
        "bits per byte after {} tokens, the other {:.3f} after {}.",
        introduced(run), introduced(reference), last_of_run->bits_per_byte, quantity(last_of_run->tokens),
        last_of_reference->bits_per_byte, quantity(last_of_reference->tokens));
  }
  const auto& pair = pairs.back();
  const double difference = pair.difference();
  auto text = fmt::format("After {} tokens, {} reads {:.3f} bits per byte and {} {:.3f}: ", quantity(pair.tokens),
                          introduced(run), pair.run, introduced(reference), pair.reference);
  if (std::abs(difference) < kLevelShare) {
    text += fmt::format("they are level, within {}.", percentage(kLevelShare));
  } else {
    const bool run_leads = difference < 0.0;
    text += fmt::format("{} is ahead by {}.", run_leads ? leader(run, reference) : leader(reference, run),
                        percentage(difference));
  }
  for (const auto& [one, last] : {std::pair{&run, last_of_run}, std::pair{&reference, last_of_reference}}) {
    if (last->tokens > pair.tokens) {
      text += fmt::format(" {} goes on to {} tokens, so this is not its end.", one->name, quantity(last->tokens));
    }
  }
  if (!run.tokenizer_hash.empty() && !reference.tokenizer_hash.empty() && !tokenizers_equal(run, reference)) {
    text += " Their tokenizers differ, so as many tokens are not as much text.";
  } else if (!run.data_hash.empty() && !reference.data_hash.empty() && run.data_hash != reference.data_hash) {
    text += " They were trained on different data, and so may have been validated on different text.";
  }
  return text;
}

std::string flops_verdict(const RunRecord& run, const RunRecord& reference) {
  const auto of_run = run.training_flops_per_token();
  const auto of_reference = reference.training_flops_per_token();
  if (!of_run || !of_reference) return "";
  const double difference = *of_run / *of_reference - 1.0;
  if (std::abs(difference) <= kMatchedShare) {
    return fmt::format("{} and {} spend the same FLOPs per token, within {}.", run.name, reference.name,
                       percentage(kMatchedShare));
  }
  return fmt::format("{} spends {} {} FLOPs per token than {}.", run.name, percentage(difference),
                     difference > 0.0 ? "more" : "fewer", reference.name);
}

size_t reference_run(const std::vector<RunRecord>& runs) {
  const auto found = std::find_if(runs.begin(), runs.end(), [](const RunRecord& run) { return run.is_baseline(); });
  return found == runs.end() ? 0 : static_cast<size_t>(found - runs.begin());
}

std::string quantity(double value) {
  constexpr std::array<std::string_view, 7> kPrefixes{"", "k", "M", "G", "T", "P", "E"};
  if (!std::isfinite(value)) return std::string(kNothing);
  size_t power = 0;
  while (std::abs(value) >= 999.5 && power + 1 < kPrefixes.size()) {
    value /= 1000.0;
    ++power;
  }
  return with_minus(fmt::format("{:.3g}{}{}", value, power == 0 ? "" : kSpace, kPrefixes[power]));
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{0}{1}s", whole, kSpace);
  if (whole < 3600) return fmt::format("{0}{2}min{2}{1:02}{2}s", whole / 60, whole % 60, kSpace);
  return fmt::format("{0}{2}h{2}{1:02}{2}min", whole / 3600, whole % 3600 / 60, kSpace);
}

std::string report_page(const Report& report) {
  TORCH_CHECK(!report.runs.empty() && report.samples.size() == report.runs.size(),
              "a report has at least one run, and samples for each");
  const bool one_tokenizer = all_tokenizers_equal(report.runs);
  return filled(web_assets::report_page(),
                {{"title", escape_html(title_of(report.runs))},
                 {"style", std::string(web_assets::report_style()) + std::string(segmentation_style())},
                 {"verdicts", verdicts_html(report.runs)},
                 {"runs", runs_html(report)},
                 {"reference", escape_html(report.runs[reference_run(report.runs)].name)},
                 {"loss_note", one_tokenizer ? "" : " Not comparable where tokenizers differ."},
                 {"validations", validations_html(report)},
                 {"segmentations", segmentations_html(report)},
                 {"continuations", continuations_html(report)},
                 {"configuration", configuration_html(report)},
                 {"licence", escape_html(web_assets::chart_licence())},
                 {"data", escape_script(chart_data(report))},
                 {"chart_script", std::string(web_assets::chart_script())},
                 {"script", std::string(web_assets::report_script())}});
}

}  // namespace dlcm
