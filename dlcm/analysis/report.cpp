#include "dlcm/analysis/report.h"

#include "dlcm/analysis/chart_data.h"
#include "dlcm/analysis/comparison.h"
#include "dlcm/analysis/html.h"
#include "dlcm/analysis/numbers.h"
#include "dlcm/analysis/report_samples.h"
#include "dlcm/analysis/run_table.h"
#include "dlcm/analysis/segmentation_view.h"
#include "dlcm/analysis/web_assets.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

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
      for (const size_t i : known) html += fmt::format("<th scope=\"col\">{}</th>", run_heading(report.runs, i));
      html += fmt::format("</tr></thead>\n<tbody>\n{}</tbody></table></div>\n", rows);
    }
  }
  for (const size_t i : known) {
    html += fmt::format("<details><summary>All of {}</summary><pre>{}</pre></details>\n",
                        escape_html(report.runs[i].name), escape_html(to_toml(*report.runs[i].config)));
  }
  return html.empty() ? note("No run here has a configuration to show.") : html;
}

std::string title_of(const std::vector<RunRecord>& runs) {
  std::string title;
  for (size_t i = 0; i < runs.size(); ++i) {
    title += (i == 0 ? "" : i + 1 == runs.size() ? " and " : ", ") + runs[i].name;
  }
  return title;
}

}  // namespace

std::string report_page(const Report& report) {
  TORCH_CHECK(!report.runs.empty() && report.samples.size() == report.runs.size(),
              "a report has at least one run, and samples for each");
  const bool one_tokenizer = all_tokenizers_equal(report.runs);
  return filled_template(web_assets::report_page(),
                         {{"title", escape_html(title_of(report.runs))},
                          {"style", std::string(web_assets::base_style()) + std::string(web_assets::report_style()) +
                                        std::string(segmentation_style())},
                          {"verdicts", verdicts_html(report.runs)},
                          {"runs", run_table(report.runs)},
                          {"reference", escape_html(report.runs[reference_run(report.runs)].name)},
                          {"loss_note", one_tokenizer ? "" : " Not comparable where tokenizers differ."},
                          {"validations", validations_html(report)},
                          {"segmentations", segmentations_html(report)},
                          {"continuations", continuations_html(report)},
                          {"configuration", configuration_html(report)},
                          {"licence", escape_html(web_assets::chart_licence())},
                          {"data", escape_script(chart_data(report.runs))},
                          {"chart_script", std::string(web_assets::chart_script())},
                          {"script", std::string(web_assets::report_script())}});
}

}  // namespace dlcm
