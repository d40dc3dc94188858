// Every setting of a model and its training. Each struct lists its fields once, in `fields`; TOML reading and
// writing, --set, the comparison on --resume and docs/configuration.md all derive from that list.
#pragma once

#include "dlcm/util/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dlcm {

enum class ModelKind { dlcm, llama };
// SPEC section 1, "Boundary rules".
enum class BoundaryRule { learned, cosine, stride, random, whitespace, entropy };
// Over which tokens the auxiliary loss takes F and G (SPEC section 2).
enum class ParserScope { global, sequence };
// How training turns the score p into a boundary: a Bernoulli draw of sharpened p, or p >= 0.5.
enum class BoundaryDecision { sample, threshold };
// What reaches p besides the ratio loss (SPEC section 1, "Gradient into p").
enum class ParserGradient { decoupled, smoothing, straight_through };
enum class SmoothingKind { identity, moving_average };
// Which tokens a concept is the mean of: its segment; or those after the segment's first, through the one that opens
// the place that reads it. Either way that place sees none but its own first token and those before.
enum class PoolingSpan { segment, through_opening };
// The two exact readings of the paper's cross-attention (SPEC section 1), and the second by the paper's method.
enum class CrossAttentionReading { plain, replicated, replication };
enum class CrossAttentionLayers { first, every };
enum class CrossAttentionPositions { none, places };
enum class Precision { automatic, fp32, bf16 };
// What each rank keeps: all of it, its share of the moments (ZeRO-1), and of the gradients (ZeRO-2).
enum class Sharding { none, optimizer, gradients };

// The names of an enum's values, in the order of their declaration.
template <typename Enum>
struct EnumNames;
template <>
struct EnumNames<ModelKind> {
  static constexpr std::array<std::string_view, 2> value{"dlcm", "llama"};
};
template <>
struct EnumNames<BoundaryRule> {
  static constexpr std::array<std::string_view, 6> value{"learned", "cosine",     "stride",
                                                         "random",  "whitespace", "entropy"};
};
template <>
struct EnumNames<ParserScope> {
  static constexpr std::array<std::string_view, 2> value{"global", "sequence"};
};
template <>
struct EnumNames<BoundaryDecision> {
  static constexpr std::array<std::string_view, 2> value{"sample", "threshold"};
};
template <>
struct EnumNames<ParserGradient> {
  static constexpr std::array<std::string_view, 3> value{"decoupled", "smoothing", "straight_through"};
};
template <>
struct EnumNames<SmoothingKind> {
  static constexpr std::array<std::string_view, 2> value{"identity", "moving_average"};
};
template <>
struct EnumNames<PoolingSpan> {
  static constexpr std::array<std::string_view, 2> value{"segment", "through_opening"};
};
template <>
struct EnumNames<CrossAttentionReading> {
  static constexpr std::array<std::string_view, 3> value{"plain", "replicated", "replication"};
};
template <>
struct EnumNames<CrossAttentionLayers> {
  static constexpr std::array<std::string_view, 2> value{"first", "every"};
};
template <>
struct EnumNames<CrossAttentionPositions> {
  static constexpr std::array<std::string_view, 2> value{"none", "places"};
};
template <>
struct EnumNames<Precision> {
  static constexpr std::array<std::string_view, 3> value{"auto", "fp32", "bf16"};
};

template <>
struct EnumNames<Sharding> {
  static constexpr std::array<std::string_view, 3> value{"none", "optimizer", "gradients"};
};

template <typename Enum>
constexpr std::string_view name_of(Enum value) {
  return EnumNames<Enum>::value[static_cast<size_t>(value)];
}

// One causal transformer stack: E, M, D and the baseline are this with different numbers.
struct StackConfig {
  int64_t width = 0;
  int64_t layers = 0;
  int64_t feed_forward = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t window = 0;  // rows of its document that a row attends at most, itself included; 0: all up to it

  int64_t head_size() const { return width / heads; }
};

struct TokenConfig {
  int64_t width = 128;
  int64_t layers = 0;
  int64_t encoder_layers = 0;
  int64_t decoder_layers = 0;
  int64_t feed_forward = 384;
  int64_t heads = 4;
  int64_t kv_heads = 4;
  int64_t attention_window = 0;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("width", self.width, "D, width of the token stacks");
    visit("layers", self.layers, "layers of a llama model; 0 for dlcm");
    visit("encoder_layers", self.encoder_layers, "layers of the encoder E; 0 for llama");
    visit("decoder_layers", self.decoder_layers, "layers of the decoder D; 0 for llama");
    visit("feed_forward", self.feed_forward, "F, width of the SwiGLU");
    visit("heads", self.heads, "N, query heads, also of the cross-attention");
    visit("kv_heads", self.kv_heads, "G, key and value heads, also of the cross-attention");
    visit("attention_window", self.attention_window,
          "tokens that a token attends in the token stacks, itself included; 0 is its whole document up to it");
  }
  StackConfig stack(int64_t num_layers) const {
    return {width, num_layers, feed_forward, heads, kv_heads, attention_window};
  }
};

struct ConceptConfig {
  int64_t width = 256;
  int64_t layers = 4;
  int64_t feed_forward = 768;
  int64_t heads = 8;
  int64_t kv_heads = 8;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("width", self.width, "W, width of the concept backbone M");
    visit("layers", self.layers, "layers of M; 0 is the control without a backbone");
    visit("feed_forward", self.feed_forward, "width of the backbone's SwiGLU");
    visit("heads", self.heads, "query heads of M");
    visit("kv_heads", self.kv_heads, "key and value heads of M");
  }
  StackConfig stack() const { return {width, layers, feed_forward, heads, kv_heads, 0}; }
};

struct ModelConfig {
  ModelKind kind = ModelKind::dlcm;
  int64_t vocabulary = 0;
  double rope_theta = 10000.0;
  double norm_epsilon = 1e-5;
  double init_std = 0.04;
  PoolingSpan pooling = PoolingSpan::segment;
  CrossAttentionReading cross_attention = CrossAttentionReading::plain;
  CrossAttentionLayers cross_attention_layers = CrossAttentionLayers::first;
  CrossAttentionPositions cross_attention_positions = CrossAttentionPositions::none;
  bool concept_residual = false;
  TokenConfig token;
  ConceptConfig concepts;

  // Times that Psi is applied, each with weights of its own.
  int64_t cross_attentions() const {
    return cross_attention_layers == CrossAttentionLayers::first ? 1 : std::max<int64_t>(1, token.decoder_layers);
  }
  // What the index-th of them is called among the parameters: "cross_attention", "cross_attention1", ...
  static std::string cross_attention_name(int64_t index) {
    return "cross_attention" + (index == 0 ? std::string() : std::to_string(index));
  }

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("kind", self.kind, "dlcm, or llama: the baseline made of the token stack alone");
    visit("vocabulary", self.vocabulary, "V, rows of the embedding and of the head; 0 takes the tokenizer's size");
    visit("rope_theta", self.rope_theta, "base of the rotary position embedding");
    visit("norm_epsilon", self.norm_epsilon, "epsilon of every RMSNorm");
    visit("init_std", self.init_std, "standard deviation of the initial weights at the base widths");
    visit("pooling", self.pooling,
          "segment: a concept is the mean of its segment; through_opening: of what follows the segment's first token, "
          "through the token that opens the next");
    visit("cross_attention", self.cross_attention,
          "plain: each visible place counts once; replicated: once per token; replication: the same by repeated keys, "
          "slower");
    visit("cross_attention_layers", self.cross_attention_layers,
          "first: Psi once, before the decoder; every: before each of its layers, with weights of its own");
    visit("cross_attention_positions", self.cross_attention_positions,
          "places: rotary positions in Psi, a token standing at its own place; none: places are told by content alone");
    visit("concept_residual", self.concept_residual,
          "also add a projection of its own place's concept to every token before Psi");
    visit("token", self.token, "the token stacks E and D, or the whole baseline");
    visit("concept", self.concepts, "the concept backbone M; not read for llama");
  }
};

// The small language model of the entropy rule: a llama model whose weights a training takes over, unchanged, and keeps
// in its checkpoints.
struct EntropyConfig {
  std::string model;
  double threshold = 0.0;
  int64_t width = 0;
  int64_t base_width = 0;
  int64_t layers = 0;
  int64_t feed_forward = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model, "run or checkpoint of the llama model, read when a training begins");
    visit(
        "threshold", self.threshold,
        "nats of its next-token entropy above which a concept opens; 0 is set for parser.ratio when a training begins");
    visit("width", self.width, "its width; 0 takes this and what follows from the model");
    visit("base_width", self.base_width, "its mup.base_token_width");
    visit("layers", self.layers, "its layers");
    visit("feed_forward", self.feed_forward, "width of its SwiGLU");
    visit("heads", self.heads, "its query heads");
    visit("kv_heads", self.kv_heads, "its key and value heads");
  }
  StackConfig stack() const { return {width, layers, feed_forward, heads, kv_heads, 0}; }
};

struct ParserConfig {
  BoundaryRule rule = BoundaryRule::learned;
  ParserScope scope = ParserScope::global;
  double ratio = 4.0;
  int64_t scan_width = 0;
  BoundaryDecision decision = BoundaryDecision::threshold;
  double temperature = 4.0;
  double loss_weight = 0.1;
  ParserGradient gradient = ParserGradient::decoupled;
  double threshold = 0.5;
  bool calibrate = true;
  double cosine_threshold = 0.5;
  int64_t min_length = 3;
  EntropyConfig entropy;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("rule", self.rule, "what places a boundary");
    visit("scope", self.scope, "F and G over the whole optimiser step, or per document (the paper's \"Normal\")");
    visit("ratio", self.ratio, "R, target tokens per concept");
    visit("scan_width", self.scan_width, "C, width of the parser's q and k; 0 is half the token width");
    visit("decision", self.decision, "training boundaries: a draw of sharpened p, or p >= 0.5");
    visit("temperature", self.temperature, "alpha, sharpens p before the draw: sigmoid(alpha logit p)");
    visit("loss_weight", self.loss_weight, "lambda, weight of the auxiliary ratio loss");
    visit("gradient", self.gradient, "what reaches p besides the ratio loss");
    visit("threshold", self.threshold, "p at which evaluation places a boundary; kept calibrated if calibrate is on");
    visit("calibrate", self.calibrate, "keep threshold at the running (1 - 1/R) quantile of p in training");
    visit("cosine_threshold", self.cosine_threshold, "tau of the cosine rule, on (1 - cos)/2 of raw h");
    visit("min_length", self.min_length, "tokens a segment must have before the whitespace rule may close it");
    visit("entropy", self.entropy, "the small language model of the entropy rule");
  }
};

struct SmoothingConfig {
  SmoothingKind kind = SmoothingKind::identity;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("kind", self.kind, "identity, or a moving average gated by p of the token that opened the place");
  }
};

struct DataConfig {
  std::string path;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("path", self.path, "a data directory, or a mixture file; --data sets it");
  }
};

struct TrainConfig {
  int64_t steps = 1000;
  int64_t tokens_per_step = 4096;
  int64_t micro_batch_tokens = 4096;
  int64_t context = 512;
  int64_t seed = 1;
  int64_t threads = 0;
  int64_t workers = 0;
  Precision precision = Precision::automatic;
  bool activation_checkpointing = false;
  int64_t log_every_steps = 1;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("steps", self.steps, "optimiser steps in all");
    visit("tokens_per_step", self.tokens_per_step, "tokens of one optimiser step, over all micro-batches and ranks");
    visit("micro_batch_tokens", self.micro_batch_tokens,
          "tokens of one forward and backward pass; a multiple of context");
    visit("context", self.context, "tokens of a window; documents that cross its edge restart");
    visit("seed", self.seed, "seeds the initial weights, the order of the data and the boundary draws");
    visit("threads", self.threads, "CPU threads; 0 is one per core");
    visit("workers", self.workers,
          "threads that share a micro-batch's windows, each with gradients of its own; 0: as many as memory allows");
    visit("precision", self.precision,
          "of matrix products; auto is bf16 on CPUs with bfloat16 instructions, else fp32");
    visit("activation_checkpointing", self.activation_checkpointing,
          "compute each layer again in the backward pass instead of keeping its activations");
    visit("log_every_steps", self.log_every_steps, "steps between two lines of metrics.jsonl");
  }
};

struct OptimizerConfig {
  double token_rate = 1.5e-3;
  double concept_rate = 1.5e-3;
  double embedding_rate = 7.5e-3;
  double head_rate = 1.5e-3;
  double gain_rate = 1.5e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double gradient_clip = 1.0;
  int64_t max_skipped_steps = 10;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("token_rate", self.token_rate, "peak learning rate of the token stacks' matrices, divided by s_token");
    visit("concept_rate", self.concept_rate, "peak learning rate of the concept matrices, divided by s_concept");
    visit("embedding_rate", self.embedding_rate, "peak learning rate of the input embedding");
    visit("head_rate", self.head_rate, "peak learning rate of the output head");
    visit("gain_rate", self.gain_rate, "peak learning rate of norm gains and the start concept");
    visit("beta1", self.beta1, "AdamW's first-moment decay");
    visit("beta2", self.beta2, "AdamW's second-moment decay");
    visit("epsilon", self.epsilon, "AdamW's epsilon, divided by s on hidden matrices");
    visit("weight_decay", self.weight_decay, "decoupled decay of hidden matrices");
    visit("gradient_clip", self.gradient_clip, "largest global gradient norm");
    visit("max_skipped_steps", self.max_skipped_steps, "non-finite steps in a row after which training stops");
  }
};

struct ScheduleConfig {
  int64_t warmup_steps = 50;
  double decay_fraction = 0.2;
  double final_fraction = 0.02;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("warmup_steps", self.warmup_steps, "steps of linear warm-up");
    visit("decay_fraction", self.decay_fraction, "share of all steps in the linear decay at the end");
    visit("final_fraction", self.final_fraction, "learning rate at the end, as a share of the peak");
  }
};

struct MupConfig {
  int64_t base_token_width = 0;
  int64_t base_concept_width = 0;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("base_token_width", self.base_token_width, "D at which the rates were tuned; 0 is the model's own");
    visit("base_concept_width", self.base_concept_width, "W at which the rates were tuned; 0 is the model's own");
  }
};

struct EvalConfig {
  int64_t every_steps = 100;
  int64_t tokens = 131072;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("every_steps", self.every_steps, "steps between validations; 0 validates at the end only");
    visit("tokens", self.tokens, "validation tokens read each time at most");
  }
};

struct CheckpointConfig {
  int64_t every_steps = 200;
  int64_t keep = 2;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("every_steps", self.every_steps, "steps between checkpoints; 0 saves at the end only");
    visit("keep", self.keep, "complete checkpoints kept");
  }
};

struct DistConfig {
  Sharding sharding = Sharding::none;
  double timeout_seconds = 60.0;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("sharding", self.sharding,
          "what is split over the ranks: nothing, the optimiser's moments, or the gradients too");
    visit("timeout_seconds", self.timeout_seconds, "silence after which a rank is given up and the training ends");
  }
};

struct Config {
  ModelConfig model;
  ParserConfig parser;
  SmoothingConfig smoothing;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  MupConfig mup;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  DistConfig dist;

  template <typename Self, typename Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model, "shape of the model");
    visit("parser", self.parser, "where concepts begin");
    visit("smoothing", self.smoothing, "S, between the backbone and the cross-attention");
    visit("data", self.data, "what is trained on");
    visit("train", self.train, "length and shape of the run");
    visit("optimizer", self.optimizer, "AdamW and its rates");
    visit("schedule", self.schedule, "warm-up, stable, decay");
    visit("mup", self.mup, "widths at which the rates were tuned (decoupled muP)");
    visit("eval", self.eval, "validation while training");
    visit("checkpoint", self.checkpoint, "saving");
    visit("dist", self.dist, "several ranks (mpirun)");
  }

  // muP width multipliers (SPEC section 4).
  double token_multiplier() const;
  double concept_multiplier() const;
  // C, with the default resolved.
  int64_t scan_width() const;
};

// Reads TOML text; `where` names its source in messages. Then applies `settings` ("train.steps=120") in order and
// checks the whole. Throws Error on syntax, an unknown key (naming the nearest known one), a value of the wrong type or
// an impossible size.
Config parse_config(std::string_view toml, std::string_view where, const std::vector<std::string>& settings = {});
Config load_config(const std::string& path, const std::vector<std::string>& settings = {});

// Numbers that do not fit together. parse_config puts the place of the first of `keys` that was set in front.
class ConfigError : public Error {
 public:
  ConfigError(std::vector<std::string> keys, const std::string& message)
      : Error("{}", message), keys_(std::move(keys)) {}
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  std::vector<std::string> keys_;
};

// Throws ConfigError naming the keys where the numbers do not fit together.
void check_config(const Config& config);

// Every field, as TOML that parse_config reads back to an equal config.
std::string to_toml(const Config& config);

// One leaf field: its dotted key ("train.steps"), its value as TOML, what it takes in words, and what it is.
struct ConfigEntry {
  std::string key;
  std::string value;
  std::string values;
  std::string description;
};
std::vector<ConfigEntry> config_entries(const Config& config);

// The whole of docs/configuration.md.
std::string config_markdown();

}  // namespace dlcm
