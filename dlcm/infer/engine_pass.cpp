#include "dlcm/infer/engine_pass.h"

#include "dlcm/infer/boundary_rules.h"
#include "dlcm/kernels/cached_attention.h"
#include "dlcm/kernels/row_kernels.h"

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

// Logits are computed in chunks of about this many.
constexpr int64_t kChunkLogits = int64_t{1} << 24;

std::span<const float> row_of(const std::vector<float>& rows, int64_t row, int64_t size) {
  return std::span(rows).subspan(static_cast<size_t>(row * size), static_cast<size_t>(size));
}

}  // namespace

EnginePass::EnginePass(const EngineModel& model, ThreadPool& pool)
    : model_(model), config_(model.config), work_(pool), stack_(model.config, work_) {}

void EnginePass::run(std::span<const Part> parts) {
  members_.clear();
  rows_ = places_ = 0;
  for (const auto& part : parts) {
    members_.push_back({.part = part, .row = rows_});
    rows_ += part.count;
  }
  embed(model_.weights.embedding, x_);
  if (config_.model.kind == ModelKind::dlcm) {
    // H = E(x)
    stack_.run(model_.weights.encoder, token_rows(&Sequence::encoder_), rows_, x_);
    // p_t = (1 - cos(q_{t-1}, k_t)) / 2, b = [p >= threshold]
    parse();
    // C = Phi(H)
    pool_segments();
    // Z = M(C)
    stack_.run(model_.weights.concepts, place_rows(), places_, z_);
    work_.norm(z_.data(), model_.weights.concepts_norm, config_.model.norm_epsilon, places_, z_.data());
    smooth();
    if (config_.model.concept_residual) add_concepts();
    // Psi(H, Z)
    count_places();
    cross_attend(0);
  }
  // y = D(Psi(H, Z)), or the whole of llama
  stack_.run(model_.weights.decoder, token_rows(&Sequence::decoder_), rows_, x_, [&](size_t layer) {
    if (layer > 0 && layer < model_.weights.cross_attention.size()) cross_attend(layer);
  });
  answer();
  for (const auto& member : members_) {
    member.sequence().length_ += member.part.count;
    member.sequence().concepts_ += member.places;
  }
  work_.traffic().rows += rows_;
  work_.traffic().concepts += places_;
  ++work_.traffic().passes;
}

const std::vector<SequenceRows>& EnginePass::token_rows(std::vector<KeyValueCache> Sequence::*caches) {
  sequence_rows_.clear();
  for (const auto& member : members_) {
    sequence_rows_.push_back({.caches = &(member.sequence().*caches),
                              .first = member.row,
                              .count = member.part.count,
                              .position = member.sequence().length_});
  }
  return sequence_rows_;
}

// PAPER-GAP: M's positions are places.
const std::vector<SequenceRows>& EnginePass::place_rows() {
  sequence_rows_.clear();
  for (const auto& member : members_) {
    if (member.places == 0) continue;
    sequence_rows_.push_back({.caches = &member.sequence().concept_stack_,
                              .first = member.place,
                              .count = member.places,
                              .position = member.sequence().concepts_});
  }
  return sequence_rows_;
}

void EnginePass::embed(const PackedMatrix& embedding, std::vector<float>& x) {
  const int64_t width = embedding.inputs;
  x.resize(static_cast<size_t>(rows_ * width));
  for (const auto& member : members_) {
    const auto ids = member.part.work->ids.subspan(static_cast<size_t>(member.part.first));
    work_.for_rows(member.part.count, width, [&](int64_t row) {
      unpack_output(embedding, ids[static_cast<size_t>(row)], x.data() + (member.row + row) * width);
    });
  }
}

void EnginePass::parse() {
  boundary_prob_.assign(static_cast<size_t>(rows_), 1.0f);
  boundary_.assign(static_cast<size_t>(rows_), 0);
  segment_length_.assign(static_cast<size_t>(rows_), 0);
  if (has_scores(config_.parser.rule)) score_boundaries();
  if (config_.parser.rule == BoundaryRule::entropy) read_entropies();
  opening_row_.clear();
  for (auto& member : members_) place_boundaries(member);
  places_ = static_cast<int64_t>(opening_row_.size());
}

void EnginePass::score_boundaries() {
  const int64_t width = config_.model.token.width;
  const float *q = x_.data(), *k = x_.data();
  int64_t stride = width, size = width;
  // PAPER-GAP: the parser reads RMSNorm(H); the cosine rule of the ablation compares raw h.
  if (config_.parser.rule == BoundaryRule::learned) {
    normed_.resize(static_cast<size_t>(rows_ * width));
    work_.norm(x_.data(), model_.weights.parser_norm, config_.model.norm_epsilon, rows_, normed_.data());
    work_.multiply(model_.weights.parser_query_key, normed_.data(), rows_, projected_);
    size = config_.scan_width();
    stride = 2 * size;
    q = projected_.data();
    k = q + size;
  }
  for (const auto& member : members_) {
    auto& sequence = member.sequence();
    work_.for_rows(member.part.count, size, [&](int64_t row) {
      const int64_t t = member.row + row;
      if (row == 0 && sequence.length_ == 0) return;
      const float* before = row == 0 ? sequence.previous_.data() : q + (t - 1) * stride;
      boundary_prob_[static_cast<size_t>(t)] = kernels::boundary_score(before, k + t * stride, size);
    });
    const float* last = q + (member.row + member.part.count - 1) * stride;
    sequence.previous_.assign(last, last + size);
  }
}

void EnginePass::read_entropies() {
  const auto& weights = model_.weights.entropy;
  const auto& entropy = config_.parser.entropy;
  embed(weights.embedding, projected_);
  stack_.run(weights.stack, token_rows(&Sequence::entropy_), rows_, projected_);
  work_.norm(projected_.data(), weights.norm, config_.model.norm_epsilon, rows_, projected_.data());
  const auto base_width = static_cast<float>(entropy.base_width == 0 ? entropy.width : entropy.base_width);
  kernels::scale(projected_.data(), rows_ * entropy.width, base_width / static_cast<float>(entropy.width));
  // Row t is asked what was predicted after the row before it.
  entropy_.resize(static_cast<size_t>(rows_));
  std::vector<double> after(static_cast<size_t>(rows_));
  const int64_t vocabulary = config_.model.vocabulary, chunk = std::max<int64_t>(1, kChunkLogits / vocabulary);
  for (int64_t first = 0; first < rows_; first += chunk) {
    const int64_t count = std::min(chunk, rows_ - first);
    work_.multiply(weights.head, projected_.data() + first * entropy.width, count, logits_);
    work_.for_rows(count, vocabulary, [&](int64_t row) {
      after[static_cast<size_t>(first + row)] = LogProbabilities(row_of(logits_, row, vocabulary)).entropy();
    });
  }
  for (const auto& member : members_) {
    auto& before = member.sequence().next_entropy_;
    for (int64_t row = member.row; row < member.row + member.part.count; ++row) {
      entropy_[static_cast<size_t>(row)] = before;
      before = after[static_cast<size_t>(row)];
    }
  }
}

void EnginePass::place_boundaries(Member& member) {
  const auto& work = *member.part.work;
  auto& sequence = member.sequence();
  member.place = static_cast<int64_t>(opening_row_.size());
  member.open_before = sequence.open_length_;
  for (int64_t i = 0; i < member.part.count; ++i) {
    const auto row = static_cast<size_t>(member.row + i), index = static_cast<size_t>(member.part.first + i);
    bool opens = false;
    if (work.forced.empty()) {
      const auto id = work.ids[index];
      opens = opens_concept(config_,
                            {.id = id,
                             .position = sequence.length_ + i,
                             .segment_length = sequence.open_length_,
                             .score = boundary_prob_[row],
                             .opens_word = !model_.opens_word.empty() && model_.opens_word[static_cast<size_t>(id)] != 0,
                             .entropy = entropy_.empty() ? 0.0 : entropy_[row]},
                            work.threshold);
    } else {
      opens = work.forced[index] != 0;
    }
    if (opens) opening_row_.push_back(member.row + i);
    sequence.open_length_ = opens ? 1 : sequence.open_length_ + 1;
    segment_length_[row] = sequence.open_length_;
    boundary_[row] = opens ? 1 : 0;
    if (config_.parser.rule != BoundaryRule::learned) boundary_prob_[row] = opens ? 1.0f : 0.0f;
  }
  member.places = static_cast<int64_t>(opening_row_.size()) - member.place;
  const auto first = boundary_.begin() + member.row;
  member.part.result->boundary.insert(member.part.result->boundary.end(), first, first + member.part.count);
  const auto first_prob = boundary_prob_.begin() + member.row;
  member.part.result->boundary_prob.insert(member.part.result->boundary_prob.end(), first_prob,
                                           first_prob + member.part.count);
}

void EnginePass::pool_segments() {
  const int64_t width = config_.model.token.width, concept_width = config_.model.concepts.width;
  normed_.resize(static_cast<size_t>(rows_ * width));
  // PAPER-GAP: pooling reads RMSNorm(H).
  work_.norm(x_.data(), model_.weights.pooling_norm, config_.model.norm_epsilon, rows_, normed_.data());
  // The means of the concepts that these rows close; the first place of a text closes none.
  const bool through_opening = config_.model.pooling == PoolingSpan::through_opening;
  mixed_.clear();
  std::vector<int64_t> reader;
  for (const auto& member : members_) {
    auto& sequence = member.sequence();
    auto& sum = sequence.open_sum_;
    int64_t place = member.place;
    for (int64_t row = member.row; row < member.row + member.part.count; ++row) {
      const float* normed = normed_.data() + row * width;
      bool ends_concept = false;  // which this row then belongs to
      if (boundary_[static_cast<size_t>(row)] != 0) {
        int64_t length = length_before(member, row);
        if (length > 0) {
          ends_concept = through_opening;
          if (ends_concept) {
            kernels::add(normed, sum.data(), width);
            const int64_t position = sequence.length_ + row - member.row;
            if (position == length) ++length;  // the text's first concept has the text's first token, too
          }
          for (const float value : sum) mixed_.push_back(value / static_cast<float>(length));
          reader.push_back(place);
        }
        ++place;
        sum.assign(static_cast<size_t>(width), 0.0f);
      }
      if (!ends_concept) kernels::add(normed, sum.data(), width);
    }
  }
  work_.multiply(model_.weights.pooling_up, mixed_.data(), static_cast<int64_t>(reader.size()), projected_);
  // PAPER-GAP: the shift; the paper would let a token see its own concept's end.
  z_.resize(static_cast<size_t>(places_ * concept_width));
  size_t next = 0;
  for (int64_t place = 0; place < places_; ++place) {
    const bool closes = next < reader.size() && reader[next] == place;
    const float* input =
        closes ? projected_.data() + static_cast<int64_t>(next) * concept_width : model_.weights.start_concept.data();
    std::copy_n(input, concept_width, z_.begin() + place * concept_width);
    if (closes) ++next;
  }
}

void EnginePass::smooth() {
  if (config_.smoothing.kind == SmoothingKind::identity) return;
  const int64_t width = config_.model.concepts.width;
  for (const auto& member : members_) {
    auto& last = member.sequence().smoothed_;
    last.resize(static_cast<size_t>(width), 0.0f);
    for (int64_t place = member.place; place < member.place + member.places; ++place) {
      // s_k = p_k z_k + (1 - p_k) s_{k-1}; p = 1 at the first place
      const float p = boundary_prob_[static_cast<size_t>(opening_row_[static_cast<size_t>(place)])];
      float* z = z_.data() + place * width;
      kernels::smooth(z, p, last.data(), width);
      std::copy_n(last.data(), width, z);
    }
  }
}

// x_t += W_r z_j(t)
void EnginePass::add_concepts() {
  const int64_t width = config_.model.token.width;
  work_.multiply(model_.weights.concept_residual, z_.data(), places_, projected_);
  for (const auto& member : members_) {
    auto& open = member.sequence().open_residual_;
    int64_t place = member.place;
    for (int64_t row = member.row; row < member.row + member.part.count; ++row) {
      if (boundary_[static_cast<size_t>(row)] != 0) {
        const float* residual = projected_.data() + place++ * width;
        open.assign(residual, residual + width);
      }
      kernels::add(open.data(), x_.data() + row * width, width);
    }
  }
}

void EnginePass::append_places(size_t index) {
  const auto& weights = model_.weights.cross_attention[index];
  const auto cross = config_.model.token.stack(1);
  const int64_t size = cross.head_size(), key_width = cross.kv_heads * size;
  work_.multiply(weights.key_value, z_.data(), places_, projected_);
  const bool placed = config_.model.cross_attention_positions == CrossAttentionPositions::places;
  if (placed) place_angles_.reset(places_, size, config_.model.rope_theta);
  for (const auto& member : members_) {
    for (int64_t place = member.place; place < member.place + member.places; ++place) {
      float* keys = projected_.data() + place * 2 * key_width;
      work_.norm(keys, weights.key_norm, config_.model.norm_epsilon, cross.kv_heads, keys);
      if (!placed) continue;
      place_angles_.set(place, member.sequence().concepts_ + place - member.place);
      place_angles_.rotate(place, keys, cross.kv_heads);
    }
    const float* keys = projected_.data() + member.place * 2 * key_width;
    member.sequence().places_[index].append(work_.pool(), keys, keys + key_width, member.places, 2 * key_width);
  }
}

// One past the place of every row, and the replicated reading's log lengths.
void EnginePass::count_places() {
  const bool replicated = config_.model.cross_attention != CrossAttentionReading::plain;
  visible_places_.resize(static_cast<size_t>(rows_));
  open_log_lengths_.resize(replicated ? static_cast<size_t>(rows_) : 0);
  for (const auto& member : members_) {
    auto& sequence = member.sequence();
    int64_t end = sequence.concepts_;
    for (int64_t row = member.row; row < member.row + member.part.count; ++row) {
      const bool opens = boundary_[static_cast<size_t>(row)] != 0;
      if (opens) ++end;
      visible_places_[static_cast<size_t>(row)] = end;
      if (!replicated) continue;
      // Place k stands at each of its n_k tokens: all n_k of an earlier place, those up to this row of the open one.
      auto& log_lengths = sequence.log_lengths_;
      if (opens) {
        if (!log_lengths.empty()) log_lengths.back() = std::log(static_cast<float>(length_before(member, row)));
        log_lengths.push_back(0.0f);
      }
      open_log_lengths_[static_cast<size_t>(row)] =
          std::log(static_cast<float>(segment_length_[static_cast<size_t>(row)]));
    }
  }
}

void EnginePass::cross_attend(size_t index) {
  append_places(index);
  const auto& weights = model_.weights.cross_attention[index];
  const auto cross = config_.model.token.stack(1);
  const int64_t width = cross.width;
  // PAPER-GAP: queries read RMSNorm(H), and the residual runs on raw H.
  normed_.resize(static_cast<size_t>(rows_ * width));
  work_.norm(x_.data(), weights.norm, config_.model.norm_epsilon, rows_, normed_.data());
  work_.multiply(weights.query, normed_.data(), rows_, projected_);
  work_.norm(projected_.data(), weights.query_norm, config_.model.norm_epsilon, rows_ * cross.heads, projected_.data());
  // PAPER-GAP: no rotary positions here by default.
  if (config_.model.cross_attention_positions == CrossAttentionPositions::places) {
    place_angles_.reset(rows_, cross.head_size(), config_.model.rope_theta);
    work_.for_rows(rows_, width, [&](int64_t row) {
      place_angles_.set(row, visible_places_[static_cast<size_t>(row)] - 1);
      place_angles_.rotate(row, projected_.data() + row * width, cross.heads);
    });
  }
  mixed_.resize(static_cast<size_t>(rows_ * width));
  const bool replicated = config_.model.cross_attention != CrossAttentionReading::plain;
  std::vector<AttentionWork> works;
  for (const auto& member : members_) {
    const auto& sequence = member.sequence();
    const auto& cache = sequence.places_[index];
    works.push_back({.cache = &cache,
                     .rows = member.part.count,
                     .queries = projected_.data() + member.row * width,
                     .query_row = width,
                     .out = mixed_.data() + member.row * width,
                     .out_row = width,
                     .end = visible_places_.data() + member.row,
                     .key_bias = replicated ? sequence.log_lengths_.data() : nullptr,
                     .last_key_bias = replicated ? open_log_lengths_.data() + member.row : nullptr});
    work_.count_cache(cache, sequence.concepts_ + member.places);
  }
  dlcm::attend(work_.pool(), cross.heads, works);
  work_.multiply_add(weights.output, mixed_.data(), rows_, x_);
}

int64_t EnginePass::length_before(const Member& member, int64_t row) const {
  return row == member.row ? member.open_before : segment_length_[static_cast<size_t>(row) - 1];
}

void EnginePass::answer() {
  std::vector<Answer> answers;
  for (const auto& member : members_) {
    const auto& part = member.part;
    const auto& work = *part.work;
    const auto last = static_cast<int64_t>(work.ids.size()) - 1;
    auto query = std::partition_point(work.queries.begin(), work.queries.end(),
                                      [&](const TokenQuery& other) { return other.row < part.first; });
    for (int64_t row = part.first; row < part.first + part.count; ++row) {
      const auto first_query = query;
      while (query != work.queries.end() && query->row == row) ++query;
      const bool logits = work.logits == LogitsWanted::all || (work.logits == LogitsWanted::last && row == last);
      if (!logits && first_query == query) continue;
      answers.push_back({.work = &work,
                         .result = part.result,
                         .row = member.row + row - part.first,
                         .logits = logits,
                         .queries = {first_query, query}});
    }
  }
  const auto chunk = std::max<size_t>(1, static_cast<size_t>(kChunkLogits / config_.model.vocabulary));
  for (size_t first = 0; first < answers.size(); first += chunk) {
    answer_rows(std::span(answers).subspan(first, std::min(chunk, answers.size() - first)));
  }
}

void EnginePass::answer_rows(std::span<const Answer> answers) {
  const int64_t width = config_.model.token.width, vocabulary = config_.model.vocabulary;
  const auto rows = static_cast<int64_t>(answers.size());
  const auto scale = static_cast<float>(1.0 / config_.token_multiplier());
  normed_.resize(static_cast<size_t>(rows * width));
  work_.for_rows(rows, width, [&](int64_t row) {
    float* y = normed_.data() + row * width;
    kernels::rms_norm(x_.data() + answers[static_cast<size_t>(row)].row * width, model_.weights.decoder_norm.data(), y,
                      width, static_cast<float>(config_.model.norm_epsilon));
    kernels::scale(y, width, scale);
  });
  work_.multiply(model_.weights.head, normed_.data(), rows, logits_);
  std::vector<std::vector<TokenScore>> scores(answers.size());
  work_.for_rows(rows, vocabulary, [&](int64_t row) {
    const auto& answer = answers[static_cast<size_t>(row)];
    if (answer.queries.empty()) return;
    const LogProbabilities probabilities(row_of(logits_, row, vocabulary));
    for (const auto& query : answer.queries) {
      scores[static_cast<size_t>(row)].push_back(probabilities.score(query.id, answer.work->likely));
    }
  });
  for (int64_t row = 0; row < rows; ++row) {
    const auto& answer = answers[static_cast<size_t>(row)];
    auto& row_scores = scores[static_cast<size_t>(row)];
    std::move(row_scores.begin(), row_scores.end(), std::back_inserter(answer.result->scores));
    if (!answer.logits) continue;
    const auto logits = row_of(logits_, row, vocabulary);
    answer.result->logits.insert(answer.result->logits.end(), logits.begin(), logits.end());
  }
}

}  // namespace dlcm
