// Which numbers fit together.
#include "dlcm/config/config.h"
#include "dlcm/util/error.h"

namespace dlcm {
namespace {

// Bounds that keep every count of parameters inside 63 bits.
constexpr int64_t kLargestWidth = int64_t{1} << 20;
constexpr int64_t kLargestFeedForward = int64_t{1} << 22;
constexpr int64_t kLargestSize = int64_t{1} << 24;
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostSteps = int64_t{1} << 40;

void check_range(const std::string& key, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    throw ConfigError({key}, fmt::format("{} expects a number from {} to {}, found {}", key, low, high, value));
  }
}

void check_size(const std::string& key, int64_t value, int64_t low = 1, int64_t high = kLargestSize) {
  if (value < low || value > high) {
    throw ConfigError({key}, fmt::format("{} expects a whole number from {} to {}, found {}", key, low, high, value));
  }
}

void check_stack(const std::string& table, const StackConfig& stack) {
  const auto heads_key = table + ".heads";
  check_size(table + ".width", stack.width, 1, kLargestWidth);
  check_size(table + ".feed_forward", stack.feed_forward, 1, kLargestFeedForward);
  check_size(heads_key, stack.heads);
  check_size(table + ".kv_heads", stack.kv_heads);
  if (stack.width % stack.heads != 0) {
    throw ConfigError({heads_key, table + ".width"},
                      fmt::format("{0}.width = {1} is not divisible by {0}.heads = {2}: choose a width that is a "
                                  "multiple of the heads",
                                  table, stack.width, stack.heads));
  }
  if (stack.head_size() % 2 != 0) {
    throw ConfigError({heads_key, table + ".width"},
                      fmt::format("{0}.width / {0}.heads = {1} must be even for rotary positions: change {0}.heads",
                                  table, stack.head_size()));
  }
  if (stack.heads % stack.kv_heads != 0) {
    throw ConfigError({table + ".kv_heads", heads_key},
                      fmt::format("{0}.heads = {1} is not divisible by {0}.kv_heads = {2}: query heads share key heads "
                                  "in equal groups",
                                  table, stack.heads, stack.kv_heads));
  }
}

void check_model(const Config& config) {
  const auto& model = config.model;
  const auto& token = model.token;
  check_size("model.vocabulary", model.vocabulary, 0);
  check_range("model.rope_theta", model.rope_theta, 1.0, 1e12);
  check_range("model.norm_epsilon", model.norm_epsilon, 0.0, 1.0);
  check_range("model.init_std", model.init_std, 1e-8, 10.0);
  check_stack("model.token", token.stack(0));
  check_size("model.token.attention_window", token.attention_window, 0);
  if (model.kind == ModelKind::llama) {
    check_size("model.token.layers", token.layers, 1, kMostLayers);
    if (token.encoder_layers != 0 || token.decoder_layers != 0) {
      throw ConfigError({"model.token.encoder_layers", "model.token.decoder_layers"},
                        "model.token.encoder_layers and decoder_layers belong to kind = \"dlcm\": for llama set "
                        "model.token.layers");
    }
    return;
  }
  if (token.layers != 0) {
    throw ConfigError({"model.token.layers"},
                      "model.token.layers belongs to kind = \"llama\": for dlcm set encoder_layers and decoder_layers");
  }
  check_size("model.token.encoder_layers", token.encoder_layers, 0, kMostLayers);
  check_size("model.token.decoder_layers", token.decoder_layers, 0, kMostLayers);
  check_size("model.concept.layers", model.concepts.layers, 0, kMostLayers);
  check_stack("model.concept", model.concepts.stack());
  check_size("parser.scan_width", config.parser.scan_width, 0, token.width);
}

void check_parser(const Config& config) {
  const auto& parser = config.parser;
  if (!(parser.ratio > 1.0 && parser.ratio <= 65536.0)) {
    throw ConfigError(
        {"parser.ratio"},
        fmt::format("parser.ratio expects more than 1 token per concept (at most 65536), found {}", parser.ratio));
  }
  check_range("parser.temperature", parser.temperature, 1e-3, 1e6);
  check_range("parser.loss_weight", parser.loss_weight, 0.0, 1e6);
  check_range("parser.threshold", parser.threshold, 0.0, 1.0);
  check_range("parser.cosine_threshold", parser.cosine_threshold, 0.0, 1.0);
  check_size("parser.min_length", parser.min_length);
  check_range("parser.entropy.threshold", parser.entropy.threshold, 0.0, 100.0);
  check_size("parser.entropy.width", parser.entropy.width, 0, kLargestWidth);
  check_size("parser.entropy.base_width", parser.entropy.base_width, 0, kLargestWidth);
  if (parser.entropy.width > 0) {
    check_size("parser.entropy.layers", parser.entropy.layers, 1, kMostLayers);
    check_stack("parser.entropy", parser.entropy.stack());
  } else if (parser.rule == BoundaryRule::entropy && parser.entropy.model.empty()) {
    throw ConfigError(
        {"parser.rule", "parser.entropy.model"},
        "parser.rule = \"entropy\" needs parser.entropy.model, a run or checkpoint of a llama model trained on "
        "the same tokenizer: train a small one first");
  }
  if (parser.gradient == ParserGradient::smoothing && config.smoothing.kind != SmoothingKind::moving_average) {
    throw ConfigError({"parser.gradient", "smoothing.kind"},
                      "parser.gradient = \"smoothing\" needs smoothing.kind = \"moving_average\": the identity has no "
                      "gate");
  }
}

void check_training(const Config& config) {
  const auto& train = config.train;
  check_size("train.steps", train.steps, 1, kMostSteps);
  check_size("train.context", train.context);
  check_size("train.micro_batch_tokens", train.micro_batch_tokens);
  check_size("train.tokens_per_step", train.tokens_per_step, 1, int64_t{1} << 32);
  check_size("train.seed", train.seed, 0, int64_t{1} << 61);
  check_size("train.threads", train.threads, 0, 4096);
  check_size("train.workers", train.workers, 0, 4096);
  check_size("train.log_every_steps", train.log_every_steps);
  if (train.micro_batch_tokens % train.context != 0) {
    throw ConfigError({"train.micro_batch_tokens", "train.context"},
                      fmt::format("train.micro_batch_tokens = {} is not a multiple of train.context = {}: "
                                  "micro-batches take whole windows",
                                  train.micro_batch_tokens, train.context));
  }
  if (train.tokens_per_step % train.micro_batch_tokens != 0) {
    throw ConfigError(
        {"train.tokens_per_step", "train.micro_batch_tokens"},
        fmt::format("train.tokens_per_step = {} is not a multiple of train.micro_batch_tokens = {}: a step "
                    "takes whole micro-batches",
                    train.tokens_per_step, train.micro_batch_tokens));
  }
  const auto& optimizer = config.optimizer;
  check_range("optimizer.token_rate", optimizer.token_rate, 0.0, 100.0);
  check_range("optimizer.concept_rate", optimizer.concept_rate, 0.0, 100.0);
  check_range("optimizer.embedding_rate", optimizer.embedding_rate, 0.0, 100.0);
  check_range("optimizer.head_rate", optimizer.head_rate, 0.0, 100.0);
  check_range("optimizer.gain_rate", optimizer.gain_rate, 0.0, 100.0);
  check_range("optimizer.beta1", optimizer.beta1, 0.0, 0.999999);
  check_range("optimizer.beta2", optimizer.beta2, 0.0, 0.99999999);
  check_range("optimizer.epsilon", optimizer.epsilon, 1e-30, 1.0);
  check_range("optimizer.weight_decay", optimizer.weight_decay, 0.0, 100.0);
  check_range("optimizer.gradient_clip", optimizer.gradient_clip, 1e-12, 1e12);
  check_size("optimizer.max_skipped_steps", optimizer.max_skipped_steps);
  check_size("schedule.warmup_steps", config.schedule.warmup_steps, 0, kMostSteps);
  check_range("schedule.decay_fraction", config.schedule.decay_fraction, 0.0, 1.0);
  check_range("schedule.final_fraction", config.schedule.final_fraction, 0.0, 1.0);
  check_size("mup.base_token_width", config.mup.base_token_width, 0, kLargestWidth);
  check_size("mup.base_concept_width", config.mup.base_concept_width, 0, kLargestWidth);
  check_size("eval.every_steps", config.eval.every_steps, 0, kMostSteps);
  check_size("eval.tokens", config.eval.tokens, 1, kMostSteps);
  check_size("checkpoint.every_steps", config.checkpoint.every_steps, 0, kMostSteps);
  check_size("checkpoint.keep", config.checkpoint.keep);
  check_range("dist.timeout_seconds", config.dist.timeout_seconds, 0.5, 1e6);
}

}  // namespace

void check_config(const Config& config) {
  check_model(config);
  check_parser(config);
  check_training(config);
}

}  // namespace dlcm
