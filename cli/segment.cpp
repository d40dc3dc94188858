// dlcm segment: text with its concepts marked.
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/analysis/segmentation_view.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"

#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>

namespace dlcm::cli {
namespace {

struct SegmentOptions : ModelOptions {
  std::string file;
  std::string html;
};

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

void segment(const SegmentOptions& options) {
  Engine engine(load_engine_model(options.model));
  const auto& model = engine.model();
  if (!model.has_concepts()) {
    throw Error("{} is a llama model, which has no concepts: give a model of kind dlcm", model.path);
  }
  const double threshold = threshold_for(model, options.request);
  std::vector<std::string> texts;
  TextInput input({options.file}, std::cin);
  for (std::string document; input.next(document);) texts.push_back(document);
  if (texts.empty()) throw Error("expected text in {}, found none: give a file that is not empty", options.file);
  const auto documents = score(engine, texts, threshold);
  if (options.html.empty()) {
    const bool colour = wants_colour();
    for (size_t i = 0; i < documents.size(); ++i) {
      const auto text = colour ? segmentation_coloured(documents[i]) : segmentation_plain(documents[i]);
      fmt::print("{}{}\n", i == 0 ? "" : "\n", text);
    }
  } else {
    write_file_synced(options.html, segmentation_page(documents, options.file));
  }
  fmt::print(stderr, "{}\n", segmentation_summary(documents));
}

}  // namespace

void add_segment(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<SegmentOptions>();
  auto* verb = app.add_subcommand(
      "segment",
      "Text with its concepts marked: in colour on a terminal (unless NO_COLOR is set), else with | between");
  add_model_options(*verb, *options);
  verb->add_option("FILE", options->file, "text file; - is standard input")->required();
  verb->add_option("--html", options->html, "write a page that needs nothing but itself to this file");
  verb->callback([options] { segment(*options); });
}

}  // namespace dlcm::cli
