#include "dlcm/scaling/family.h"

#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dlcm {
namespace {

constexpr int64_t kFeedForwardStep = 8;
constexpr double kMostFeedForwardPerWidth = 6.0;
// Rows of logits that the cross-entropy holds at a time, at most.
constexpr double kLogitRows = 512.0;

double cube(double x) { return x * x * x; }

int64_t rounded(double value, int64_t step) {
  return std::max(step, step * static_cast<int64_t>(std::llround(value / static_cast<double>(step))));
}

// A stack of `factor` cubed times the matrices' parameters of `base`, `layers` deep: its width in whole groups of
// heads.
StackConfig resized(const StackConfig& base, double factor, int64_t layers) {
  const int64_t group = base.heads / base.kv_heads;
  const double depth = static_cast<double>(layers) / static_cast<double>(std::max<int64_t>(1, base.layers));
  StackConfig stack;
  stack.layers = layers;
  stack.width = rounded(static_cast<double>(base.width) * std::sqrt(cube(factor) / depth), group * base.head_size());
  stack.heads = stack.width / base.head_size();
  stack.kv_heads = stack.heads / group;
  // The feed-forward takes up what the width's rounding leaves, within reason.
  const auto attention = [](const StackConfig& of) {
    return 2.0 * static_cast<double>(of.width) * static_cast<double>(of.width + of.kv_heads * of.head_size());
  };
  const double wanted =
      (attention(base) + 3.0 * static_cast<double>(base.width) * static_cast<double>(base.feed_forward)) *
      cube(factor) / depth;
  const double room = (wanted - attention(stack)) / (3.0 * static_cast<double>(stack.width));
  const auto width = static_cast<double>(stack.width);
  stack.feed_forward = rounded(std::clamp(room, width, kMostFeedForwardPerWidth * width), kFeedForwardStep);
  return stack;
}

int64_t layers_of(int64_t base, double factor) {
  return base == 0 ? 0 : std::max<int64_t>(1, std::llround(static_cast<double>(base) * factor));
}

// Floats that a layer keeps per row: its input and its norm, q, k and v, the attention's output, the residual after it
// and its norm, gate and up, and their product.
// With checkpointing each layer keeps its input, and one at a time the rest.
double kept_per_row(const StackConfig& stack, bool checkpointing) {
  const auto all =
      static_cast<double>(6 * stack.width + 2 * stack.kv_heads * stack.head_size() + 3 * stack.feed_forward);
  const auto layers = static_cast<double>(stack.layers);
  return checkpointing ? layers * static_cast<double>(stack.width) + (stack.layers > 0 ? all : 0.0) : layers * all;
}

}  // namespace

Family::Family(Config base)
    : base_(std::move(base)), count_(count_parameters(base_)), costs_{forward_flops(base_, {.tokens = 1.0}),
                                                                      forward_flops(base_, {.concepts = 1.0}),
                                                                      forward_flops(base_, {.token_pairs = 1.0}),
                                                                      forward_flops(base_, {.concept_pairs = 1.0}),
                                                                      forward_flops(base_, {.cross_pairs = 1.0}),
                                                                      forward_flops(base_, {.entropy_pairs = 1.0})} {
  const auto& model = base_.model;
  if (model.kind == ModelKind::dlcm &&
      (model.concepts.layers == 0 || model.token.encoder_layers + model.token.decoder_layers == 0)) {
    throw Error(
        "expected a configuration with token layers and a backbone to take sizes from, found {} + {} token layers "
        "and {} concept layers: give another one",
        model.token.encoder_layers, model.token.decoder_layers, model.concepts.layers);
  }
}

Family::Growth Family::growth(const RunScale& scale) const {
  const auto backbone = static_cast<double>(count_.backbone);
  const auto others = static_cast<double>(count_.non_embedding()) - backbone;
  if (scale.baseline) return {std::cbrt(scale.parameters / others), 0.0};
  return {std::cbrt(scale.parameters * (1.0 - scale.backbone_share) / others),
          std::cbrt(scale.parameters * scale.backbone_share / backbone)};
}

double Family::training_flops_per_token(const RunScale& scale) const {
  const auto [token, concepts] = growth(scale);
  const auto context = base_.train.context;
  const auto work = expected_work(context, scale.ratio, base_.model.token.attention_window);
  const auto& [per_token, per_concept, per_token_pair, per_concept_pair, per_cross_pair, per_entropy_pair] = costs_;
  // The small model of the entropy rule is the same for all sizes.
  const double fixed = base_.parser.rule == BoundaryRule::entropy ? per_token.parser : 0.0;
  const double forward =
      work.tokens * ((per_token.total() - per_token.head - fixed) * cube(token) + per_token.head * token + fixed) +
      work.concepts *
          ((per_concept.total() - per_concept.backbone) * cube(token) + per_concept.backbone * cube(concepts)) +
      work.token_pairs * per_token_pair.total() * token * token +
      work.concept_pairs * per_concept_pair.total() * concepts * concepts +
      work.cross_pairs * per_cross_pair.total() * token + work.entropy_pairs * per_entropy_pair.total();
  return kTrainingFlopsPerForward * forward / static_cast<double>(context);
}

double Family::total_parameters(const RunScale& scale) const {
  return scale.parameters + static_cast<double>(count_.embedding + count_.head) * growth(scale).token;
}

Config Family::nearest(const RunScale& scale) const {
  const auto [token, concepts] = growth(scale);
  auto config = base_;
  auto& model = config.model;
  model.token.layers = layers_of(base_.model.token.layers, token);
  model.token.encoder_layers = layers_of(base_.model.token.encoder_layers, token);
  model.token.decoder_layers = layers_of(base_.model.token.decoder_layers, token);
  const auto depth = [](const TokenConfig& stacks) {
    return stacks.layers + stacks.encoder_layers + stacks.decoder_layers;
  };
  const auto token_stack = resized(base_.model.token.stack(depth(base_.model.token)), token, depth(model.token));
  model.token.width = token_stack.width;
  model.token.heads = token_stack.heads;
  model.token.kv_heads = token_stack.kv_heads;
  model.token.feed_forward = token_stack.feed_forward;
  // Learning rates carry over from the base by muP.
  if (config.mup.base_token_width == 0) config.mup.base_token_width = base_.model.token.width;
  if (model.kind == ModelKind::dlcm) {
    const auto stack =
        resized(base_.model.concepts.stack(), concepts, layers_of(base_.model.concepts.layers, concepts));
    model.concepts = {stack.width, stack.layers, stack.feed_forward, stack.heads, stack.kv_heads};
    config.parser.ratio = scale.ratio;
    if (config.mup.base_concept_width == 0) config.mup.base_concept_width = base_.model.concepts.width;
  }
  check_config(config);
  return config;
}

double activation_bytes(const Config& config, int64_t tokens) {
  const auto rows = static_cast<double>(tokens);
  const auto& token = config.model.token;
  const bool checkpointing = config.train.activation_checkpointing;
  double floats =
      rows * kept_per_row(token.stack(token.layers + token.encoder_layers + token.decoder_layers), checkpointing);
  floats += kLogitRows * static_cast<double>(config.model.vocabulary);
  floats += 3.0 * rows * static_cast<double>(token.width);  // the last norm's two sides and the gradient of y
  if (config.model.kind == ModelKind::dlcm) {
    const double concepts = rows / config.parser.ratio;
    const auto kv_width = static_cast<double>(token.kv_heads * token.stack(0).head_size());
    floats += concepts * kept_per_row(config.model.concepts.stack(), checkpointing);
    const auto readings = static_cast<double>(config.model.cross_attentions());
    floats += rows * (1.0 + 4.0 * readings) * static_cast<double>(token.width) +
              rows * 2.0 * static_cast<double>(config.scan_width());
    floats += concepts * (4.0 * static_cast<double>(config.model.concepts.width) + 4.0 * kv_width * readings);
  }
  return floats * static_cast<double>(sizeof(float));
}

}  // namespace dlcm
