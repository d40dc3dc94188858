#include "dlcm/analysis/run_table.h"

#include "dlcm/analysis/comparison.h"
#include "dlcm/analysis/html.h"
#include "dlcm/analysis/numbers.h"
#include "dlcm/model/flops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace dlcm {
namespace {

constexpr size_t kNumColours = 6;  // --run-0 ... of report.css

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return kUnknown;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double last_tokens(const RunRecord& run) {
  const double training = last_value(run.training, &TrainingPoint::tokens);
  return std::isfinite(training) ? training : last_value(run.validation, &ValidationPoint::tokens);
}

// The table of runs: a row a fact, a column a run and, for two runs, one for their difference.
class RunTable {
 public:
  explicit RunTable(const std::vector<RunRecord>& runs) : runs_(runs), reference_(reference_run(runs)) {}

  void begin_group(std::string_view title) {
    if (open_) rows_ += "</tbody>\n";
    open_ = true;
    rows_ += fmt::format("<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>\n",
                         runs_.size() + 1 + (has_difference() ? 1 : 0), title);
  }

  void words(std::string_view label, const std::function<std::string(const RunRecord&)>& cell) {
    rows_ += fmt::format("<tr><th scope=\"row\">{}</th>", label);
    for (const auto& run : runs_) rows_ += fmt::format("<td class=\"words\">{}</td>", escape_html(cell(run)));
    rows_ += has_difference() ? "<td></td></tr>\n" : "</tr>\n";
  }

  enum class Row { plain, compared, main };
  void number(std::string_view label, Row kind, const std::function<std::string(double)>& format,
              const std::function<double(const RunRecord&)>& value) {
    rows_ += fmt::format("<tr{}><th scope=\"row\">{}</th>", kind == Row::main ? " class=\"main\"" : "", label);
    std::vector<double> values;
    for (const auto& run : runs_) {
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
    for (size_t i = 0; i < runs_.size(); ++i) {
      head += fmt::format("<th scope=\"col\">{}</th>", run_heading(runs_, i));
    }
    if (has_difference()) head += "<th scope=\"col\">difference</th>";
    return fmt::format(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table>{}</tr></thead>\n{}</tbody>"
        "</table></div>\n",
        head, rows_);
  }

 private:
  bool has_difference() const { return runs_.size() == 2; }

  const std::vector<RunRecord>& runs_;
  size_t reference_;
  bool open_ = false;
  std::string rows_;
};

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

}  // namespace

std::string colour_of(size_t run) { return fmt::format("style=\"--colour:var(--run-{})\"", run % kNumColours); }

std::string run_heading(const std::vector<RunRecord>& runs, size_t run) {
  return fmt::format("<span class=\"swatch\" {}></span>{}", colour_of(run), escape_html(runs[run].name));
}

std::string note(std::string_view text) { return fmt::format("<p class=\"note\">{}</p>\n", escape_html(text)); }

std::string run_table(const std::vector<RunRecord>& runs) {
  using Row = RunTable::Row;
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

  RunTable table(runs);
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
    if (!run.config) {
      html += note(fmt::format("{}: its configuration is not known, because there is no checkpoint to use: {}.",
                               run.name, run.problem));
    }
  }
  return html;
}

}  // namespace dlcm
