#include "dlcm/train/entropy_rule.h"

#include "dlcm/infer/engine_model.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/model/parser.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace dlcm {
namespace {

struct EntropyModel {
  Config config;
  std::shared_ptr<LanguageModel> model;
};

EntropyModel load_weights(const std::string& path, const ModelFacts& facts) {
  const auto weights = path + "/model.safetensors";
  EntropyModel loaded{facts.config, make_model(facts.config)};
  load_parameters(*loaded.model, MappedSafeTensors(weights).views(), weights);
  loaded.model->eval();
  return loaded;
}

EntropyModel load_for(const Config& config, const Tokenizer& tokenizer) {
  const auto& path = config.parser.entropy.model;
  if (path.empty()) {
    throw Error(
        "parser.entropy.model is empty: name a run or checkpoint of a llama model trained on the same tokenizer");
  }
  const auto checkpoint = find_checkpoint(path);
  const auto facts = facts_of_checkpoint(checkpoint);
  const auto& model = facts.config.model;
  if (model.kind != ModelKind::llama) {
    throw Error("parser.entropy.model = {} is a model of kind dlcm: name a run or checkpoint of a llama model", path);
  }
  if (facts.tokenizer->serialized() != tokenizer.serialized() || model.vocabulary != config.model.vocabulary) {
    throw Error(
        "parser.entropy.model = {} has another tokenizer or vocabulary than the training data: train it on data of "
        "the same tokenizer",
        path);
  }
  if (model.rope_theta != config.model.rope_theta || model.norm_epsilon != config.model.norm_epsilon) {
    throw Error(
        "parser.entropy.model = {} has model.rope_theta = {} and model.norm_epsilon = {}, this model {} and {}: set "
        "them to the same values",
        path, model.rope_theta, model.norm_epsilon, config.model.rope_theta, config.model.norm_epsilon);
  }
  if (model.token.attention_window != 0 || facts.config.train.context < config.train.context) {
    throw Error(
        "parser.entropy.model = {} has model.token.attention_window = {} and train.context = {}: name a model without "
        "a "
        "window and with a context of at least {}",
        path, model.token.attention_window, facts.config.train.context, config.train.context);
  }
  return load_weights(checkpoint, facts);
}

// The threshold that as many tokens' entropies exceed as boundaries are wanted besides the pieces' first tokens.
double calibrated_threshold(LanguageModel& entropy_model, const Config& config, const Mixture& data) {
  const at::NoGradGuard no_gradient;
  const MixedWindows windows(data, config.train.seed, config.train.context);
  const int64_t batch_tokens = config.train.micro_batch_tokens;
  std::vector<double> entropies;
  double tokens = 0.0, pieces = 0.0;
  for (int64_t first = 0; first < config.eval.tokens; first += batch_tokens) {
    const auto batch = windows.read(first, batch_tokens);
    const auto entropy_T =
        entropy_model.next_token_entropies(entropy_model.forward(batch, Decision::evaluation(0.5)).y_TD);
    const auto* entropy = entropy_T.const_data_ptr<double>();
    const auto* begin = batch.documents.begin_T.const_data_ptr<int64_t>();
    // What a piece's last token predicts opens nothing.
    for (int64_t t = 0; t + 1 < batch.tokens(); ++t) {
      if (begin[t + 1] == begin[t]) entropies.push_back(entropy[t]);
    }
    tokens += static_cast<double>(batch.tokens());
    pieces += static_cast<double>(batch.documents.size());
  }
  const double wanted =
      std::clamp(tokens / config.parser.ratio - pieces, 0.0, static_cast<double>(entropies.size() - 1));
  const auto place = static_cast<size_t>(wanted);
  std::nth_element(entropies.begin(), entropies.begin() + static_cast<std::ptrdiff_t>(place), entropies.end(),
                   std::greater<>());
  return entropies[place];
}

bool has_entropy_rule(const Config& config) {
  return config.model.kind == ModelKind::dlcm && config.parser.rule == BoundaryRule::entropy;
}

}  // namespace

void take_entropy_rule(Config& config, const Config& checkpoint) {
  if (!has_entropy_rule(config) || !has_entropy_rule(checkpoint)) return;
  auto& entropy = config.parser.entropy;
  const auto& stored = checkpoint.parser.entropy;
  if (!entropy.model.empty() && entropy.model != stored.model) {
    throw Error(
        "parser.entropy.model is {}, but the checkpoint holds the weights of {}: name that one, or start a run without "
        "a checkpoint",
        entropy.model, stored.model);
  }
  const double threshold = entropy.threshold;
  entropy = stored;
  if (threshold > 0.0) entropy.threshold = threshold;
}

void resolve_entropy_rule(Config& config, const Mixture& data) {
  auto& entropy = config.parser.entropy;
  if (!has_entropy_rule(config)) return;
  if (entropy.width > 0 && entropy.threshold > 0.0) return;
  const auto loaded = load_for(config, *data.tokenizer());
  const auto& token = loaded.config.model.token;
  entropy.width = token.width;
  entropy.base_width = loaded.config.mup.base_token_width;
  entropy.layers = token.layers;
  entropy.feed_forward = token.feed_forward;
  entropy.heads = token.heads;
  entropy.kv_heads = token.kv_heads;
  if (entropy.threshold == 0.0) entropy.threshold = calibrated_threshold(*loaded.model, config, data);
}

void load_entropy_model(LanguageModel& model, const Config& config) {
  if (!has_entropy_rule(config)) return;
  const at::NoGradGuard no_gradient;
  const auto checkpoint = find_checkpoint(config.parser.entropy.model);
  const auto loaded = load_weights(checkpoint, facts_of_checkpoint(checkpoint));
  auto buffers = model.named_buffers();
  for (const auto& entry : loaded.model->named_parameters()) {
    auto* buffer = buffers.find("parser." + entropy_buffer(entry.key()));
    TORCH_CHECK(buffer != nullptr && buffer->sizes() == entry.value().sizes(), "no place for ", entry.key());
    buffer->copy_(entry.value());
  }
}

}  // namespace dlcm
