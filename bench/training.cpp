#include "bench/training.h"

#include "bench/timing.h"
#include "dlcm/model/cross_attention.h"
#include "dlcm/model/flops.h"
#include "dlcm/model/parameters.h"
#include "dlcm/model/pooling.h"
#include "dlcm/nn/precision.h"
#include "dlcm/nn/transformer.h"
#include "dlcm/ops/cross_entropy.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/run.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <functional>

namespace dlcm {
namespace {

Batch random_windows(const Config& config) {
  const int64_t tokens = config.train.micro_batch_tokens, context = config.train.context;
  Batch batch;
  batch.token_T = at::randint(config.model.vocabulary, {tokens}, at::kLong);
  batch.target_T = batch.token_T.roll(-1);
  std::vector<int64_t> offsets;
  for (int64_t first = 0; first <= tokens; first += context) offsets.push_back(first);
  for (size_t window = 1; window < offsets.size(); ++window) batch.target_T[offsets[window] - 1] = -1;
  batch.documents = Documents::from_offsets(std::move(offsets));
  return batch;
}

at::Tensor random_boundaries(const Batch& batch, double ratio) {
  return at::rand({batch.tokens()}).lt(1.0 / ratio).logical_or(batch.documents.position_T.eq(0));
}

// A stage alone: its forward pass and the backward pass of a random gradient.
std::function<void()> forward_and_backward(std::function<at::Tensor()> forward) {
  const auto gradient = at::randn(forward().sizes());
  return [forward = std::move(forward), gradient] { forward().backward(gradient); };
}

// A leaf that a stage's gradient ends in.
at::Tensor leaf(int64_t rows, int64_t width) { return at::randn({rows, width}).requires_grad_(); }

struct Component {
  std::string name;
  std::function<void()> run;
  double flops = 0.0;
};

// The stages as modules of their own, with weights of the usual size. Must outlive its components.
class Stages {
 public:
  Stages(const Config& config, const Batch& batch, const at::Tensor& boundary_T)
      : config_(config), batch_(batch), decision_(Decision::forced(boundary_T)) {}

  std::vector<Component> components(const Flops& flops) const {
    const auto& model = config_.model;
    const int64_t tokens = batch_.tokens(), width = model.token.width;
    const bool has_concepts = model.kind == ModelKind::dlcm;
    std::vector<Component> list;
    const auto h_TD = leaf(tokens, width);
    if (has_concepts) {
      const auto segmentation = Segmentation::from(decision_.forced_T, batch_.documents);
      list.push_back(
          {"encoder", stack(model.token.stack(model.token.encoder_layers), h_TD, batch_.documents), flops.encoder});
      auto parser = seeded(Parser(config_));
      list.push_back(
          {"parser", forward_and_backward([=, this]() mutable { return parser->forward(h_TD, batch_, decision_).p_T; }),
           flops.parser});
      auto pooling = seeded(Pooling(config_));
      list.push_back({"pooling", forward_and_backward([=]() mutable { return pooling->forward(h_TD, segmentation); }),
                      flops.pooling});
      const auto c_SW = leaf(segmentation.concepts(), model.concepts.width);
      list.push_back({"backbone", stack(model.concepts.stack(), c_SW, segmentation.places), flops.backbone});
      auto cross_attention = seeded(CrossAttention(config_));
      const Cut cut{at::rand({tokens}), decision_.forced_T};
      list.push_back({"cross-attention", forward_and_backward([=, this]() mutable {
                        return cross_attention->forward(h_TD, c_SW, segmentation, cut, batch_.documents);
                      }),
                      flops.cross_attention});
    }
    const int64_t layers = has_concepts ? model.token.decoder_layers : model.token.layers;
    list.push_back({"decoder", stack(model.token.stack(layers), h_TD, batch_.documents), flops.decoder});
    const auto head_VD = leaf(model.vocabulary, width);
    list.push_back({"head",
                    [=, this] {
                      (cross_entropy(h_TD, head_VD, batch_.target_T, 1.0, product_precision()).sum /
                       static_cast<double>(batch_.tokens()))
                          .backward();
                    },
                    flops.head});
    return list;
  }

 private:
  template <typename Module>
  static Module seeded(Module module) {
    at::NoGradGuard no_gradient;
    for (auto& parameter : module->parameters()) parameter.normal_(0.0, 0.04);
    return module;
  }
  std::function<void()> stack(const StackConfig& stack_config, const at::Tensor& x, const Documents& documents) const {
    auto transformer = seeded(Transformer(stack_config, config_.model.rope_theta, config_.model.norm_epsilon,
                                          config_.train.activation_checkpointing));
    auto norm = seeded(RmsNorm(stack_config.width, config_.model.norm_epsilon));
    return forward_and_backward([=]() mutable { return norm->forward(transformer->forward(x, documents)); });
  }

  Config config_;
  Batch batch_;
  Decision decision_;
};

Work work_of(const Config& config, const Batch& batch, const at::Tensor& boundary_T) {
  Work work{.tokens = static_cast<double>(batch.tokens()), .token_pairs = causal_pairs(batch.documents.offsets)};
  if (config.model.kind == ModelKind::dlcm) {
    const auto segmentation = Segmentation::from(boundary_T, batch.documents);
    work.concepts = static_cast<double>(segmentation.concepts());
    work.concept_pairs = causal_pairs(segmentation.places.offsets);
    work.cross_pairs = (segmentation.visible_end_T - segmentation.visible_begin_T).sum().item<double>();
  }
  return work;
}

}  // namespace

std::vector<nlohmann::json> bench_training(const Config& config, const std::string& name, int repeats,
                                           const MixedWindows* windows) {
  at::manual_seed(1);
  const bool bfloat16 = config.train.precision == Precision::bf16;
  const MatrixPrecision precision(bfloat16);
  auto batch = windows == nullptr ? random_windows(config) : windows->read(0, config.train.micro_batch_tokens);
  batch.index_T = at::arange(batch.tokens(), at::kLong);
  const auto boundary_T = random_boundaries(batch, config.parser.ratio);
  const auto flops = forward_flops(config, work_of(config, batch, boundary_T));
  const auto model = make_model(config);
  AdamW optimizer(*model, config);
  WorkerThreads workers(number_of_workers(config));
  SingleProcess communicator;
  Gradients gradients(*model, communicator);
  const StepTotals totals{batch.tokens(), batch.tokens()};
  const bool has_concepts = config.model.kind == ModelKind::dlcm;
  const std::vector<at::Tensor> forced = has_concepts ? std::vector{boundary_T} : std::vector<at::Tensor>{};

  const auto update = [&] { optimizer.update(0.0, gradients.norm(), gradients.values()); };
  std::vector<Component> parts{{"step",
                                [&] {
                                  step_gradients(*model, {batch}, totals, 0, workers, gradients, forced);
                                  update();
                                },
                                flops.total()}};
  const Stages stages(config, batch, boundary_T);
  for (auto& component : stages.components(flops)) parts.push_back(std::move(component));
  parts.push_back({"optimiser", update, 0.0});
  int64_t read_tokens = 0;
  if (windows != nullptr) {
    parts.push_back({"data", [&] { windows->read(read_tokens += batch.tokens(), batch.tokens()); }, 0.0});
  }
  if (has_concepts) {
    parts.push_back({"packing",
                     [&] {
                       Segmentation::from(boundary_T, batch.documents);
                       batch.parts(workers.size());
                     },
                     0.0});
    parts.push_back({"first pass",
                     [&] {
                       at::NoGradGuard no_gradient;
                       model->parse(batch, Decision::forced(boundary_T));
                     },
                     0.0});
  }
  std::vector<std::function<void()>> runs{[&] { matrix_product_peak(bfloat16 ? at::kBFloat16 : at::kFloat, 1); }};
  for (const auto& part : parts) runs.push_back(part.run);
  const auto timings = time_in_turns(runs, repeats);

  constexpr double kPeakFlops = 2.0 * 4096 * 4096 * 4096;
  const double peak = kPeakFlops / timings[0].fastest, step_seconds = timings[1].median;
  std::vector<nlohmann::json> lines;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& timing = timings[i + 1];
    const double training_flops = kTrainingFlopsPerForward * parts[i].flops;
    lines.push_back({{"name", name},
                     {"component", parts[i].name},
                     {"seconds", timing.median},
                     {"fastest_seconds", timing.fastest},
                     {"slowest_seconds", timing.slowest},
                     {"flops", training_flops},
                     {"share_of_step", timing.median / step_seconds},
                     {"mfu", training_flops / timing.median / peak}});
  }
  lines.front()["tokens"] = batch.tokens();
  lines.front()["tokens_per_second"] = static_cast<double>(batch.tokens()) / step_seconds;
  lines.front()["parameters"] = count_parameters(config).total();
  lines.front()["precision"] = name_of(config.train.precision);
  lines.front()["peak_flops_per_second"] = peak;
  return lines;
}

std::string training_table(const std::vector<nlohmann::json>& lines) {
  std::string table;
  for (const auto& line : lines) {
    if (line.contains("tokens_per_second")) {
      table += fmt::format("{}: {:.1f} M parameters, {} tokens a step, {}, {:.0f} tokens/s, peak {:.0f} GFLOP/s\n",
                           line["name"].get<std::string>(), line["parameters"].get<double>() / 1e6,
                           line["tokens"].get<int64_t>(), line["precision"].get<std::string>(),
                           line["tokens_per_second"].get<double>(), line["peak_flops_per_second"].get<double>() / 1e9);
      table += fmt::format("  {:<16} {:>10} {:>17} {:>8} {:>7}\n", "component", "median ms", "fastest…slowest",
                           "of step", "MFU");
    }
    const bool counts = line["flops"].get<double>() > 0.0;
    table += fmt::format("  {:<16} {:>10.1f} {:>17} {:>7.1f}% {:>7}\n", line["component"].get<std::string>(),
                         1e3 * line["seconds"].get<double>(),
                         fmt::format("{:.1f}…{:.1f}", 1e3 * line["fastest_seconds"].get<double>(),
                                     1e3 * line["slowest_seconds"].get<double>()),
                         100.0 * line["share_of_step"].get<double>(),
                         counts ? fmt::format("{:.1f}%", 100.0 * line["mfu"].get<double>()) : "");
  }
  return table;
}

}  // namespace dlcm
