#include "dlcm/train/step_gradients.h"

#include "dlcm/nn/precision.h"
#include "dlcm/ops/cross_entropy.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/train/global_parser.h"

#include <chrono>

namespace dlcm {
namespace {

Work work_of(const Batch& batch, const Output& output) {
  Work work{.tokens = static_cast<double>(batch.tokens()), .token_pairs = causal_pairs(batch.documents.offsets)};
  if (output.segmentation) {
    const auto& segmentation = *output.segmentation;
    work.concepts = static_cast<double>(segmentation.concepts());
    work.concept_pairs = causal_pairs(segmentation.places.offsets);
    work.cross_pairs = (segmentation.visible_end_T - segmentation.visible_begin_T).sum().item<double>();
  }
  return work;
}

void add(Work& total, const Work& part) {
  total.tokens += part.tokens;
  total.token_pairs += part.token_pairs;
  total.concepts += part.concepts;
  total.concept_pairs += part.concept_pairs;
  total.cross_pairs += part.cross_pairs;
}

Decision decision_of(const Config& config, const Batch& batch, int64_t step, const at::Tensor& forced_T) {
  auto decision = Decision::training(uniform_draws(static_cast<uint64_t>(config.train.seed), DrawUse::boundary,
                                                   static_cast<uint64_t>(step), batch.first_token, batch.tokens()));
  decision.forced_T = forced_T;
  return decision;
}

// Sums over ranks of a few doubles.
std::vector<double> sums_over_ranks(Communicator& communicator, const std::vector<double>& values) {
  auto tensor = at::tensor(values, at::kDouble);
  communicator.all_reduce_sum({tensor});
  return {tensor.const_data_ptr<double>(), tensor.const_data_ptr<double>() + values.size()};
}

// F of the whole step before any backward pass: a forward pass of the encoder and the parser, without gradient.
double boundary_rate_first_pass(LanguageModel& model, const std::vector<Batch>& micro_batches, const StepTotals& totals,
                                int64_t step, Communicator& communicator, const std::vector<at::Tensor>& forced) {
  at::NoGradGuard no_gradient;
  double boundaries = 0.0;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const auto decision = decision_of(model.config(), micro_batches[i], step, forced.empty() ? at::Tensor() : forced[i]);
    boundaries += model.parse(micro_batches[i], decision)->boundary_T.sum().item<double>();
  }
  return sums_over_ranks(communicator, {boundaries})[0] / static_cast<double>(totals.tokens);
}

// The paper's "Normal" scope: F, G and the loss per document, averaged over the step's documents.
struct SequenceLoss {
  at::Tensor gradient_carrier;  // its gradient is that of the sum over documents of their ratio losses
  double sum = 0.0;
};
SequenceLoss sequence_loss(const Cut& cut, const Documents& documents, double ratio) {
  SequenceLoss loss{at::zeros({}, cut.p_T.options()), 0.0};
  for (int64_t document = 0; document < documents.size(); ++document) {
    const int64_t first = documents.offsets[document], count = documents.offsets[document + 1] - first;
    const double rate = cut.boundary_T.narrow(0, first, count).to(at::kDouble).mean().item<double>();
    const auto score = cut.p_T.narrow(0, first, count).mean();
    loss.gradient_carrier = loss.gradient_carrier + ratio_loss_slope(ratio, rate) * score;
    loss.sum += ratio_loss(ratio, rate, score.item<double>());
  }
  return loss;
}

}  // namespace

StepMeasurements accumulate_gradients(LanguageModel& model, const std::vector<Batch>& micro_batches,
                                      const StepTotals& totals, int64_t step, Communicator& communicator,
                                      const std::vector<at::Tensor>& forced) {
  const auto& config = model.config();
  const auto& parser = config.parser;
  const bool has_concepts = config.model.kind == ModelKind::dlcm;
  const bool learned = has_concepts && parser.rule == BoundaryRule::learned;
  const bool global = learned && parser.scope == ParserScope::global;
  const bool one_pass = micro_batches.size() == 1 && communicator.world_size() == 1;

  StepMeasurements measured;
  if (learned) measured.scores.emplace();
  std::optional<double> boundary_rate;
  if (global && !one_pass) {
    const auto start = std::chrono::steady_clock::now();
    boundary_rate = boundary_rate_first_pass(model, micro_batches, totals, step, communicator, forced);
    measured.first_pass_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  double documents_in_step = 0.0;
  for (const auto& batch : micro_batches) documents_in_step += static_cast<double>(batch.documents.size());
  documents_in_step = sums_over_ranks(communicator, {documents_in_step})[0];

  double nll_sum = 0.0, boundaries = 0.0, score_sum = 0.0, document_loss_sum = 0.0;
  const double tokens = static_cast<double>(totals.tokens), targets = static_cast<double>(totals.targets);
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const auto& batch = micro_batches[i];
    const auto output = model.forward(batch, decision_of(config, batch, step, forced.empty() ? at::Tensor() : forced[i]));
    const auto entropy = cross_entropy(output.y_TD, model.head(), batch.target_T, model.logit_scale(), head_precision());
    auto loss = entropy.sum / targets;
    nll_sum += entropy.nll_T.sum(at::kDouble).item<double>();
    if (has_concepts) {
      const auto& cut = *output.cut;
      const double batch_boundaries = cut.boundary_T.sum().item<double>();
      boundaries += batch_boundaries;
      score_sum += cut.p_T.detach().sum(at::kDouble).item<double>();
      if (global) {
        const double rate = boundary_rate.value_or(batch_boundaries / tokens);
        loss = loss + parser.loss_weight * ratio_loss_slope(parser.ratio, rate) * cut.p_T.sum() / tokens;
      } else if (learned) {
        const auto documents = sequence_loss(cut, batch.documents, parser.ratio);
        loss = loss + parser.loss_weight * documents.gradient_carrier / documents_in_step;
        document_loss_sum += documents.sum;
      }
      if (learned) measured.scores->add(cut.p_T);
    }
    add(measured.work, work_of(batch, output));
    loss.backward();
  }

  std::vector<at::Tensor> gradients;
  for (const auto& parameter : model.parameters()) gradients.push_back(parameter.grad());
  communicator.all_reduce_sum(gradients);
  if (learned) communicator.all_reduce_sum({measured.scores->counts()});
  const auto sums = sums_over_ranks(communicator, {nll_sum, boundaries, score_sum, document_loss_sum});
  measured.loss = sums[0] / targets;
  measured.boundary_rate = sums[1] / tokens;
  measured.mean_score = sums[2] / tokens;
  if (global) measured.aux_loss = ratio_loss(parser.ratio, measured.boundary_rate, measured.mean_score);
  if (learned && !global) measured.aux_loss = sums[3] / documents_in_step;
  return measured;
}

}  // namespace dlcm
