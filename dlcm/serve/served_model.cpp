#include "dlcm/serve/served_model.h"

#include "dlcm/util/utf8.h"

#include <chrono>
#include <filesystem>
#include <utility>

namespace dlcm {

std::string model_name(const std::string& path) {
  auto place = std::filesystem::weakly_canonical(path);
  if (place.filename().string().compare(0, 5, "step-") == 0) place = place.parent_path();
  auto name = std::filesystem::is_directory(place) ? place.filename().string() : place.stem().string();
  return name.empty() ? "dlcm" : valid_utf8(name);
}

ServedModel::ServedModel(const std::string& path, const EngineSettings& settings, const RequestLimits& request_limits,
                         const SchedulerLimits& scheduler_limits, ServerMetrics& metrics)
    : model_(load_engine_model(path)),
      limits_(request_limits),
      name_(model_name(path)),
      created_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      engine_(model_, settings),
      scheduler_(engine_, scheduler_limits, metrics) {
  limits_.vocabulary = model_->tokenizer->vocabulary();
}

void ServedModel::require_name(const std::string& name) const {
  if (name.empty() || name == name_) return;
  throw ApiError(404, fmt::format("the model {} is not served here: ask for {}, or leave model out", name, name_),
                 "model", "model_not_found");
}

void ServedModel::require_concepts(std::string_view param) const {
  if (!model_->has_concepts()) {
    throw bad_request(param, "{} asks for concepts, but {} is a llama model, which has none: leave it out", param,
                      name_);
  }
}

double ServedModel::threshold(std::optional<double> threshold, std::optional<double> ratio) const {
  const std::string_view param = threshold ? "threshold" : "ratio";
  if (!threshold && !ratio) return model_->threshold();
  require_concepts(param);
  if (model_->config.parser.rule != BoundaryRule::learned) {
    throw bad_request(param, "{} needs a learned parser, but {} places boundaries by the rule \"{}\": leave it out",
                      param, name_, name_of(model_->config.parser.rule));
  }
  if (ratio && model_->boundary_quantiles.empty()) {
    throw bad_request(param, "ratio needs a calibration, and {} stores none: ask for a threshold instead", name_);
  }
  return threshold_for(*model_, {.threshold = threshold, .ratio = ratio});
}

std::vector<int32_t> ServedModel::ids_of(const Prompt& prompt) const {
  if (!prompt.text) return prompt.ids;
  std::vector<int32_t> ids{static_cast<int32_t>(tokenizer().begin_of_text())};
  const auto text_ids = tokenizer().encode_with_specials(*prompt.text);
  ids.insert(ids.end(), text_ids.begin(), text_ids.end());
  return ids;
}

std::vector<int32_t> ServedModel::ids_with_special_text(std::string_view text) const {
  std::vector<std::pair<std::string, int32_t>> specials;
  for (const auto id : {tokenizer().end_of_text(), tokenizer().begin_of_text()}) {
    specials.emplace_back(tokenizer().display(id), static_cast<int32_t>(id));
  }
  // A Hugging Face tokenizer finds them itself, by its own rules.
  if (tokenizer().encode_with_specials(specials[0].first) == std::vector{specials[0].second}) {
    return tokenizer().encode_with_specials(text);
  }
  std::vector<int32_t> ids;
  while (!text.empty()) {
    size_t place = std::string_view::npos;
    const std::pair<std::string, int32_t>* next = nullptr;
    for (const auto& special : specials) {
      const auto found_at = text.find(special.first);
      if (found_at < place) place = found_at, next = &special;
    }
    const auto plain = tokenizer().encode(text.substr(0, place));
    ids.insert(ids.end(), plain.begin(), plain.end());
    if (next == nullptr) break;
    ids.push_back(next->second);
    text.remove_prefix(place + next->first.size());
  }
  return ids;
}

}  // namespace dlcm
