// The model that is served, with what answers need of it.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/serve/generation_request.h"
#include "dlcm/serve/scheduler.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

class ServedModel {
 public:
  // `path` as for load_engine_model.
  ServedModel(const std::string& path, const EngineSettings& settings, const RequestLimits& request_limits,
              const SchedulerLimits& scheduler_limits, ServerMetrics& metrics);

  const EngineModel& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *model_->tokenizer; }
  Scheduler& scheduler() { return scheduler_; }
  const Scheduler& scheduler() const { return scheduler_; }
  const RequestLimits& limits() const { return limits_; }
  // The name of the run, of the checkpoint's run, or of the file.
  const std::string& name() const { return name_; }
  int64_t created() const { return created_; }  // seconds since 1970

  // Throws ApiError (404) where `name` is neither empty nor this model's.
  void require_name(const std::string& name) const;
  // Throws ApiError (400) where the model cannot follow the request.
  double threshold(std::optional<double> threshold, std::optional<double> ratio) const;
  void require_concepts(std::string_view param) const;
  // Ids of a prompt given as text, as `dlcm generate` reads it; ids stay as they are.
  std::vector<int32_t> ids_of(const Prompt& prompt) const;
  // Ids of text in which the text of a special token stands for it.
  std::vector<int32_t> ids_with_special_text(std::string_view text) const;

 private:
  std::shared_ptr<const EngineModel> model_;
  RequestLimits limits_;
  std::string name_;
  int64_t created_;
  Engine engine_;
  Scheduler scheduler_;
};

// The model's name from the path that it was loaded from: "runs/small/step-00001000" and "runs/small" are small,
// "small.safetensors" is small, too.
std::string model_name(const std::string& path);

}  // namespace dlcm
