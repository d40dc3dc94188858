// Reading texts and models; analysis_page.cpp shows what is counted.
#include "dlcm/analysis/analyze.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <set>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

// Documents are scored in groups of about this many bytes.
constexpr size_t kGroupBytes = size_t{1} << 18;

// The run directory that a model was given by, where its metrics are there.
std::optional<RunRecord> training_of(const std::string& model) {
  for (auto path = fs::weakly_canonical(model); path.has_relative_path(); path = path.parent_path()) {
    if (fs::exists(path / "metrics.jsonl")) return read_run(path.string());
    if (path != fs::weakly_canonical(model)) break;
  }
  return std::nullopt;
}

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const auto& path : paths) {
    const auto absolute = fs::weakly_canonical(path);
    const auto last = absolute.filename().string();
    names.push_back(last.starts_with("step-") ? absolute.parent_path().filename().string() : last);
  }
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

}  // namespace

NamedText named_text(const std::string& argument) {
  const auto equals = argument.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == argument.size()) {
    throw Error("--text expects NAME=FILE such as code=code.txt, found \"{}\"", argument);
  }
  return {argument.substr(0, equals), argument.substr(equals + 1)};
}

Analysis analyse(const AnalysisRequest& request) {
  std::vector<std::string> paths{request.model};
  paths.insert(paths.end(), request.others.begin(), request.others.end());
  std::vector<std::unique_ptr<Engine>> engines;
  Analysis analysis;
  const auto names = short_names(paths);
  for (size_t i = 0; i < paths.size(); ++i) {
    engines.push_back(std::make_unique<Engine>(load_engine_model(paths[i])));
    const auto& model = engines.back()->model();
    if (!model.has_concepts()) {
      throw Error("{} is a llama model, which has no concepts: give a model of kind dlcm{}", paths[i],
                  i == 0 ? ", and this one as --baseline" : "");
    }
    require_comparable(engines.front()->model(), model);
    analysis.models.push_back({.name = names[i],
                               .threshold = i == 0 ? threshold_for(model, request.threshold) : model.threshold(),
                               .target_ratio = model.config.parser.ratio,
                               .by_text = {},
                               .all = {},
                               .agreement = i == 0 ? std::nullopt : std::optional<Agreement>(Agreement{})});
  }
  std::unique_ptr<Engine> baseline;
  if (request.baseline) {
    baseline = std::make_unique<Engine>(load_engine_model(*request.baseline));
    require_comparable(engines.front()->model(), baseline->model());
    analysis.baseline = short_names({*request.baseline}).front();
  }
  analysis.run = training_of(request.model);

  const auto& first_model = engines.front()->model();
  const int64_t context = first_model.config.train.context;
  ProgressLine line({.label = "analyze",
                     .total = static_cast<int64_t>(request.texts.size()) * request.most_tokens,
                     .first_step = 0,
                     .stream = stderr,
                     .clock = {}});
  for (size_t text = 0; text < request.texts.size(); ++text) {
    analysis.texts.push_back(request.texts[text].name);
    for (auto& model : analysis.models) model.by_text.emplace_back();
    TextInput input({request.texts[text].path}, std::cin);
    std::vector<std::string> group;
    const auto score_group = [&] {
      std::vector<ScoredDocument> first, of_baseline;
      if (baseline) of_baseline = score(*baseline, group, baseline->model().threshold());
      for (size_t i = 0; i < engines.size(); ++i) {
        auto documents = score(*engines[i], group, analysis.models[i].threshold);
        for (size_t k = 0; k < documents.size(); ++k) {
          analysis.models[i].by_text[text].add(
              statistics_of(documents[k], baseline ? &of_baseline[k] : nullptr, context));
          if (i > 0) analysis.models[i].agreement->add(first[k], documents[k], context);
        }
        if (i == 0) first = std::move(documents);
      }
      group.clear();
    };
    size_t bytes = 0;
    int64_t tokens = 0;
    for (std::string document; tokens < request.most_tokens && input.next(document);) {
      tokens += static_cast<int64_t>(document_ids(*first_model.tokenizer, document).size());
      bytes += document.size();
      group.push_back(std::move(document));
      if (bytes < kGroupBytes) continue;
      score_group();
      bytes = 0;
      line.update(static_cast<int64_t>(text) * request.most_tokens + std::min(tokens, request.most_tokens),
                  {request.texts[text].name});
    }
    if (!group.empty()) score_group();
    if (tokens == 0)
      throw Error("expected text in {}, found none: give a file that is not empty", request.texts[text].path);
  }
  line.finish();
  for (auto& model : analysis.models) {
    for (const auto& statistics : model.by_text) model.all.add(statistics);
  }
  return analysis;
}

nlohmann::ordered_json to_json(const Analysis& analysis) {
  nlohmann::ordered_json json{{"models", nlohmann::ordered_json::array()}};
  for (const auto& model : analysis.models) {
    nlohmann::ordered_json texts;
    for (size_t i = 0; i < analysis.texts.size(); ++i) {
      texts[valid_utf8(analysis.texts[i])] = {{"tokens", model.by_text[i].tokens},
                                              {"ratio", model.by_text[i].ratio()},
                                              {"bits_per_byte", model.by_text[i].bits_per_byte()}};
    }
    json["models"].push_back(
        {{"name", valid_utf8(model.name)},
         {"threshold", model.threshold},
         {"target_ratio", model.target_ratio},
         {"ratio", model.all.ratio()},
         {"bits_per_byte", model.all.bits_per_byte()},
         {"kappa", model.agreement ? nlohmann::ordered_json(model.agreement->kappa()) : nlohmann::ordered_json()},
         {"texts", texts}});
  }
  return json;
}

}  // namespace dlcm
