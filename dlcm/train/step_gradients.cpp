#include "dlcm/train/step_gradients.h"

#include "dlcm/nn/precision.h"
#include "dlcm/ops/cross_entropy.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/train/global_parser.h"

#include <chrono>
#include <functional>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Work work_of(const Batch& batch, const Output& output, int64_t window) {
  const auto& offsets = batch.documents.offsets;
  Work work{.tokens = static_cast<double>(batch.tokens()),
            .token_pairs = causal_pairs(offsets, window),
            .entropy_pairs = causal_pairs(offsets)};
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
  total.entropy_pairs += part.entropy_pairs;
}

Decision decision_of(const Config& config, const Batch& batch, int64_t step, const at::Tensor& forced_T) {
  auto decision = Decision::training(uniform_draws(static_cast<uint64_t>(config.train.seed), DrawUse::boundary,
                                                   at::full_like(batch.index_T, step), batch.index_T));
  decision.forced_T = forced_T;
  return decision;
}

// Sums over ranks of a few doubles.
std::vector<double> sums_over_ranks(Communicator& communicator, const std::vector<double>& values) {
  auto tensor = at::tensor(values, at::kDouble);
  communicator.all_reduce_sum({tensor});
  return {tensor.const_data_ptr<double>(), tensor.const_data_ptr<double>() + values.size()};
}

// A worker's share of a micro-batch on its way through the model.
struct Part {
  Batch batch;
  at::Tensor forced_T;  // undefined: the rule decides
  Output output;
  CrossEntropy entropy;
  double boundaries = 0.0;  // places opened
  double document_loss_sum = 0.0;
};

std::vector<Part> parts_of(const Batch& batch, const at::Tensor& forced_T, const WorkerThreads& workers) {
  std::vector<Part> parts;
  int64_t row = 0;
  for (auto& share : batch.parts(workers.size())) {
    Part part;
    part.batch = std::move(share);
    if (forced_T.defined()) part.forced_T = forced_T.narrow(0, row, part.batch.tokens());
    row += part.batch.tokens();
    parts.push_back(std::move(part));
  }
  return parts;
}

// task(part) for each part, on a worker of its own, in the precision that is set here.
void for_each(std::vector<Part>& parts, WorkerThreads& workers, const std::function<void(Part&)>& task) {
  const bool bfloat16 = MatrixPrecision::is_bfloat16();
  workers.run([&](int64_t worker) {
    const MatrixPrecision precision(bfloat16);
    if (worker < static_cast<int64_t>(parts.size())) task(parts[static_cast<size_t>(worker)]);
  });
}

// F of the whole step before any backward pass: a forward pass of the encoder and the parser, without gradient.
double boundary_rate_first_pass(LanguageModel& model, const std::vector<Batch>& micro_batches, const StepTotals& totals,
                                int64_t step, WorkerThreads& workers, Communicator& communicator,
                                const std::vector<at::Tensor>& forced) {
  double boundaries = 0.0;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    auto parts = parts_of(micro_batches[i], forced.empty() ? at::Tensor() : forced[i], workers);
    for_each(parts, workers, [&](Part& part) {
      at::NoGradGuard no_gradient;
      const auto decision = decision_of(model.config(), part.batch, step, part.forced_T);
      part.boundaries = model.parse(part.batch, decision)->boundary_T.sum().item<double>();
    });
    for (const auto& part : parts) boundaries += part.boundaries;
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

StepMeasurements step_gradients(LanguageModel& model, const std::vector<Batch>& micro_batches, const StepTotals& totals,
                                int64_t step, WorkerThreads& workers, Gradients& gradients,
                                const std::vector<at::Tensor>& forced) {
  const auto& config = model.config();
  const auto& parser = config.parser;
  const bool has_concepts = config.model.kind == ModelKind::dlcm;
  const bool learned = has_concepts && parser.rule == BoundaryRule::learned;
  const bool global = learned && parser.scope == ParserScope::global;
  auto& communicator = gradients.communicator();
  const auto start = Clock::now();
  const double waited_before = communicator.traffic().waited_seconds;

  StepMeasurements measured;
  if (learned) measured.scores.emplace();
  double own_documents = 0.0;
  for (const auto& batch : micro_batches) own_documents += static_cast<double>(batch.documents.size());
  const auto shares = communicator.all_gather_values({own_documents, static_cast<double>(micro_batches.size())});
  const double documents_in_step = shares.select(1, 0).sum().item<double>();
  const auto rounds = static_cast<size_t>(shares.select(1, 1).max().item<double>());

  // With one micro-batch a rank, F is known between its forward and its backward pass.
  std::optional<double> boundary_rate;
  if (global && rounds > 1) {
    const auto pass_start = Clock::now();
    boundary_rate = boundary_rate_first_pass(model, micro_batches, totals, step, workers, communicator, forced);
    measured.first_pass_seconds = seconds_since(pass_start);
  }

  double nll_sum = 0.0, boundaries = 0.0, score_sum = 0.0, document_loss_sum = 0.0;
  const double tokens = static_cast<double>(totals.tokens), targets = static_cast<double>(totals.targets);
  gradients.begin();
  for (size_t round = 0; round < rounds; ++round) {
    std::vector<Part> parts;
    if (round < micro_batches.size()) {
      parts = parts_of(micro_batches[round], forced.empty() ? at::Tensor() : forced[round], workers);
    }
    for_each(parts, workers, [&](Part& part) {
      part.output = model.forward(part.batch, decision_of(config, part.batch, step, part.forced_T));
      part.entropy =
          cross_entropy(part.output.y_TD, model.head(), part.batch.target_T, model.logit_scale(), product_precision());
      if (has_concepts) part.boundaries = part.output.cut->boundary_T.sum().item<double>();
    });
    communicator.note_progress();
    double batch_boundaries = 0.0;
    for (const auto& part : parts) batch_boundaries += part.boundaries;
    if (global && rounds == 1) boundary_rate = sums_over_ranks(communicator, {batch_boundaries})[0] / tokens;
    gradients.begin_round(static_cast<int64_t>(parts.size()), /*last=*/round + 1 == rounds);
    for_each(parts, workers, [&](Part& part) {
      auto loss = part.entropy.sum / targets;
      if (global) {
        const double slope = ratio_loss_slope(parser.ratio, *boundary_rate);
        loss = loss + parser.loss_weight * slope * part.output.cut->p_T.sum() / tokens;
      } else if (learned) {
        const auto documents = sequence_loss(*part.output.cut, part.batch.documents, parser.ratio);
        loss = loss + parser.loss_weight * documents.gradient_carrier / documents_in_step;
        part.document_loss_sum = documents.sum;
      }
      gradients.backward(loss, &part - parts.data());
    });
    gradients.end_round();
    boundaries += batch_boundaries;
    std::vector<at::Tensor> boundary_T;
    for (auto& part : parts) {
      nll_sum += part.entropy.nll_T.sum(at::kDouble).item<double>();
      document_loss_sum += part.document_loss_sum;
      if (has_concepts) {
        score_sum += part.output.cut->p_T.detach().sum(at::kDouble).item<double>();
        boundary_T.push_back(part.output.cut->boundary_T);
      }
      if (learned) measured.scores->add(part.output.cut->p_T);
      add(measured.work, work_of(part.batch, part.output, config.model.token.attention_window));
    }
    if (!boundary_T.empty()) measured.boundary_T.push_back(at::cat(boundary_T));
  }
  gradients.finish();

  if (learned) communicator.all_reduce_sum({measured.scores->counts()});
  auto& work = measured.work;
  const auto sums =
      sums_over_ranks(communicator, {nll_sum, boundaries, score_sum, document_loss_sum, work.tokens, work.token_pairs,
                                     work.concepts, work.concept_pairs, work.cross_pairs, work.entropy_pairs});
  work = {sums[4], sums[5], sums[6], sums[7], sums[8], sums[9]};
  measured.loss = sums[0] / targets;
  measured.boundary_rate = sums[1] / tokens;
  measured.mean_score = sums[2] / tokens;
  if (global) measured.aux_loss = ratio_loss(parser.ratio, measured.boundary_rate, measured.mean_score);
  if (learned && !global) measured.aux_loss = sums[3] / documents_in_step;
  measured.work_seconds = seconds_since(start) - (communicator.traffic().waited_seconds - waited_before);
  return measured;
}

}  // namespace dlcm
