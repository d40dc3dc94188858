// dlcm score: the log-probability of every token of documents, and where concepts begin.
#include "dlcm/infer/score.h"
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/tokenizer/jsonl.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>

namespace dlcm::cli {
namespace {

struct ScoreOptions : ModelOptions {
  std::string text;
  bool jsonl = false;
};

// Documents are scored one by one: each is printed as soon as it can be.
void print(const Engine& engine, const std::vector<ScoredDocument>& documents) {
  std::cout << to_json(documents.front(), *engine.model().tokenizer).dump() << '\n' << std::flush;
}

void score_file(Engine& engine, const std::string& path, double threshold) {
  TextInput input({path}, std::cin);
  bool found = false;
  for (std::string document; input.next(document); found = true) print(engine, score(engine, {document}, threshold));
  if (!found) throw Error("expected text in {}, found none: give a file that is not empty", path);
}

void score_lines(Engine& engine, double threshold) {
  const auto& tokenizer = *engine.model().tokenizer;
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const auto value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_string()) {
      print(engine, score(engine, {value.get_ref<const std::string&>()}, threshold));
      continue;
    }
    const auto ids = ids_of_json(tokenizer, value);
    if (!ids || ids->empty()) {
      throw Error("expected a JSON string, or an array of ids from 0 to {}, in line {} of standard input, found {}",
                  tokenizer.vocabulary() - 1, number, line);
    }
    print(engine, score_ids(engine, {*ids}, threshold));
  }
}

}  // namespace

void add_score(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<ScoreOptions>();
  auto* verb = app.add_subcommand(
      "score",
      "Log-probabilities and concepts of documents: JSON strings, one a line of standard input, or a text file.\n"
      "Each document gives one JSON object: tokens, ids, logprobs (nats), greedy (the token was the most likely one),\n"
      "boundary_prob and boundary with one entry per token, of which the first is <|bos|> with logprob and greedy "
      "null;\n"
      "nll, the sum over the text's tokens; bytes of the text; bits_per_byte. A model without concepts gives null for\n"
      "boundary_prob and boundary. A line may also hold an array of ids, which is scored as it is, without <|bos|>.");
  add_model_options(*verb, *options);
  verb->add_option("--text", options->text,
                   "score the documents of this file or folder, as `dlcm data build` splits them, not standard input");
  verb->add_flag("--jsonl", options->jsonl, "one JSON value a line, in and out")->required();
  verb->callback([options] {
    std::ios::sync_with_stdio(false);
    Engine engine(load_engine_model(options->model));
    const double threshold = threshold_for(engine.model(), options->request);
    if (options->text.empty()) {
      score_lines(engine, threshold);
    } else {
      score_file(engine, options->text, threshold);
    }
  });
}

}  // namespace dlcm::cli
