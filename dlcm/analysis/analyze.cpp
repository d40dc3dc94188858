// Reading texts and models; analysis_page.cpp shows what is counted.
#include "dlcm/analysis/analyze.h"

#include "dlcm/io/files.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>
#include <system_error>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

// Documents are scored in groups of about this many tokens, as many as score() reads side by side.
constexpr size_t kGroupTokens = 8192;

// The run of a path that names it or one of its checkpoints; the path itself where it is something else.
fs::path run_of(const std::string& model) {
  const auto path = fs::weakly_canonical(model);
  std::error_code ignored;
  const bool is_checkpoint = path.filename().string().starts_with("step-") && fs::is_directory(path, ignored);
  return is_checkpoint ? path.parent_path() : path;
}

// The training of the run that the model is given by. What cannot be read costs one chart, not the analysis.
void read_training(const std::string& model, Analysis& analysis) {
  const auto run = run_of(model);
  std::error_code ignored;
  if (!fs::exists(run / "metrics.jsonl", ignored)) return;
  try {
    analysis.run = read_run(run.string());
  } catch (const Error& error) {
    analysis.training_problem = error.what();
  }
}

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const auto& path : paths) names.push_back(run_of(path).filename().string());
  if (std::set<std::string>(names.begin(), names.end()).size() < names.size()) return paths;
  return names;
}

void require_comparable(const EngineModel& model, const EngineModel& other) {
  if (other.tokenizer->serialized() != model.tokenizer->serialized()) {
    throw Error("{} and {} have different tokenizers, so their tokens cannot be compared: give models of one tokenizer",
                model.path, other.path);
  }
  if (other.config.train.context != model.config.train.context) {
    throw Error(
        "{} was trained with a context of {} tokens and {} with {}, so their tokens do not see the same text: give "
        "models of one context",
        model.path, model.config.train.context, other.path, other.config.train.context);
  }
}

void check_names(const std::vector<NamedText>& texts) {
  std::set<std::string> names;
  const NamedText* standard_input = nullptr;
  for (const auto& text : texts) {
    if (text.name == kAllTexts) {
      throw Error("expected another name for the text {} than \"{}\", which stands for all texts together", text.path,
                  kAllTexts);
    }
    if (!names.insert(text.name).second) {
      throw Error("the name \"{}\" is given to two texts: give each one a name of its own", text.name);
    }
    if (text.path != "-") continue;
    if (standard_input != nullptr) {
      throw Error(
          "\"{}\" and \"{}\" are both to be read from standard input, which can be read once: give one as a file",
          standard_input->name, text.name);
    }
    standard_input = &text;
  }
}

// The documents of a text. The first is read at once: whether there is one is known before anything is scored.
struct OpenText {
  explicit OpenText(const NamedText& text) : input({text.path}, std::cin) {
    if (!input.next(document)) {
      throw Error("expected text in {}, found none: give a file that is not empty", text.path);
    }
  }
  bool next() { return input.next(document); }

  TextInput input;
  std::string document;  // the one to score next
};

// Documents that are scored together.
struct Group {
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::optional<int64_t>> bytes;  // of the texts; none for one that was cut
  size_t tokens = 0;
};

std::vector<ScoredDocument> score_group(Engine& engine, const Group& group, double threshold) {
  auto documents = score_ids(engine, group.ids, threshold);
  for (size_t i = 0; i < documents.size(); ++i) documents[i].bytes = group.bytes[i].value_or(documents[i].bytes);
  return documents;
}

}  // namespace

NamedText named_text(const std::string& argument, std::string_view option) {
  const auto equals = argument.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == argument.size()) {
    throw Error("{} expects NAME=FILE such as code=code.txt, found \"{}\"", option, argument);
  }
  return {.name = argument.substr(0, equals), .path = argument.substr(equals + 1)};
}

Analysis analyse(const AnalysisRequest& request) {
  check_names(request.texts);
  std::deque<OpenText> inputs;
  for (const auto& text : request.texts) inputs.emplace_back(text);
  std::vector<std::string> paths{request.model};
  paths.insert(paths.end(), request.others.begin(), request.others.end());
  const size_t num_models = paths.size();
  if (request.baseline) paths.push_back(*request.baseline);
  const auto names = short_names(paths);
  Analysis analysis;
  analysis.texts = request.texts;
  analysis.asked_ratio = request.threshold.ratio;
  std::vector<std::unique_ptr<Engine>> engines;
  for (size_t i = 0; i < num_models; ++i) {
    const auto& model = engines.emplace_back(std::make_unique<Engine>(load_engine_model(paths[i])))->model();
    if (!model.has_concepts()) {
      throw Error("{} is a llama model, which has no concepts: give a model of kind dlcm{}", paths[i],
                  i == 0 ? ", and this one as --baseline" : "");
    }
    for (size_t k = 0; k < i; ++k) {
      if (fs::equivalent(engines[k]->model().path, model.path)) {
        throw Error("--{} {} and --other {} are the same model: give each model once", k == 0 ? "model" : "other",
                    paths[k], paths[i]);
      }
    }
    require_comparable(engines.front()->model(), model);
    analysis.models.push_back({.name = names[i],
                               .threshold = i == 0 ? threshold_for(model, request.threshold) : model.threshold(),
                               .target_ratio = model.config.parser.ratio,
                               .has_scores = model.config.parser.rule == BoundaryRule::learned,
                               .by_text = std::vector<ConceptStatistics>(request.texts.size()),
                               .all = {},
                               .agreement = i == 0 ? std::nullopt : std::optional<Agreement>(Agreement{})});
  }
  std::unique_ptr<Engine> baseline;
  if (request.baseline) {
    baseline = std::make_unique<Engine>(load_engine_model(*request.baseline));
    require_comparable(engines.front()->model(), baseline->model());
    analysis.baseline = names.back();
  }
  read_training(request.model, analysis);

  const auto& first_model = engines.front()->model();
  const int64_t context = first_model.config.train.context;
  // Every model reads every token.
  const auto steps_of_text = static_cast<int64_t>(paths.size()) * request.most_tokens;
  ProgressLine line({.label = "analyze",
                     .total = static_cast<int64_t>(request.texts.size()) * steps_of_text,
                     .first_step = 0,
                     .stream = stderr,
                     .clock = {}});
  for (size_t text = 0; text < request.texts.size(); ++text) {
    const auto& named = request.texts[text];
    int64_t step = static_cast<int64_t>(text) * steps_of_text;
    Group group;
    const auto score_with = [&](Engine& engine, const std::string& name, double threshold) {
      auto documents = score_group(engine, group, threshold);
      step += static_cast<int64_t>(group.tokens);
      line.update(step, {named.name, name});
      return documents;
    };
    const auto count_group = [&] {
      std::vector<ScoredDocument> first, of_baseline;
      if (baseline) of_baseline = score_with(*baseline, *analysis.baseline, baseline->model().threshold());
      for (size_t i = 0; i < engines.size(); ++i) {
        auto& model = analysis.models[i];
        auto documents = score_with(*engines[i], model.name, model.threshold);
        for (size_t k = 0; k < documents.size(); ++k) {
          model.by_text[text].add(statistics_of(documents[k], baseline ? &of_baseline[k] : nullptr, context));
          if (i > 0 && !named.apart) model.agreement->add(first[k], documents[k], context);
        }
        if (i == 0) first = std::move(documents);
      }
      group = {};
    };
    auto& input = inputs[text];
    auto left = static_cast<size_t>(request.most_tokens);
    for (bool more = left > 0; more; more = left > 0 && input.next()) {
      auto ids = document_ids(*first_model.tokenizer, input.document);
      const bool whole = ids.size() <= left;
      if (!whole) ids.resize(left);
      left -= ids.size();
      group.tokens += ids.size();
      group.bytes.push_back(whole ? std::optional(static_cast<int64_t>(input.document.size())) : std::nullopt);
      group.ids.push_back(std::move(ids));
      if (group.tokens >= kGroupTokens) count_group();
    }
    if (!group.ids.empty()) count_group();
    line.update(static_cast<int64_t>(text + 1) * steps_of_text, {named.name});
  }
  line.finish();
  for (auto& model : analysis.models) {
    for (size_t text = 0; text < request.texts.size(); ++text) {
      if (!request.texts[text].apart) model.all.add(model.by_text[text]);
    }
  }
  return analysis;
}

nlohmann::ordered_json to_json(const Analysis& analysis) {
  nlohmann::ordered_json json{{"models", nlohmann::ordered_json::array()}};
  for (const auto& model : analysis.models) {
    nlohmann::ordered_json texts;
    for (size_t i = 0; i < analysis.texts.size(); ++i) {
      texts[valid_utf8(analysis.texts[i].name)] = {{"tokens", model.by_text[i].tokens},
                                                   {"ratio", model.by_text[i].ratio()},
                                                   {"bits_per_byte", model.by_text[i].bits_per_byte()},
                                                   {"apart", analysis.texts[i].apart}};
    }
    json["models"].push_back(
        {{"name", valid_utf8(model.name)},
         {"threshold", model.has_scores ? nlohmann::ordered_json(model.threshold) : nlohmann::ordered_json()},
         {"target_ratio", model.target_ratio},
         {"ratio", model.all.ratio()},
         {"bits_per_byte", model.all.bits_per_byte()},
         {"kappa", model.agreement ? nlohmann::ordered_json(model.agreement->kappa()) : nlohmann::ordered_json()},
         {"texts", texts}});
  }
  return json;
}

AnalysisOutput::AnalysisOutput(std::string path) : path_(std::move(path)) {
  if (path_.empty()) throw Error("expected a directory as --output, found an empty path: name one");
  std::error_code failure;
  for (auto missing = fs::absolute(path_); !fs::exists(missing, failure); missing = missing.parent_path()) {
    made_.push_back(missing);
  }
  fs::create_directories(path_, failure);
  if (failure) {
    throw Error("expected a directory as --output, but {} cannot be one ({}): name another", path_, failure.message());
  }
}

AnalysisOutput::~AnalysisOutput() {
  std::error_code ignored;
  for (const auto& directory : made_) fs::remove(directory, ignored);  // which only goes where it is empty
}

size_t AnalysisOutput::write(const Analysis& analysis) {
  const auto tables = analysis_tables(analysis);
  const auto csv = [&](std::string_view name) { return fmt::format("{}/{}.csv", path_, name); };
  for (const auto& [name, table] : tables) write_file_synced(csv(name), table.csv());
  write_file_synced(path_ + "/index.html", chart_page(analysis_page(analysis)));
  for (const auto name : kAnalysisTables) {
    std::error_code ignored;
    const bool written =
        std::any_of(tables.begin(), tables.end(), [&](const auto& table) { return table.first == name; });
    if (!written) fs::remove(csv(name), ignored);
  }
  return tables.size();
}

}  // namespace dlcm
