#include "dlcm/infer/continuations.h"

#include "dlcm/infer/token_scores.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace dlcm {
namespace {

// A fork of the tree costs about as much as reading this many tokens.
constexpr size_t kLeastTokensSaved = 16;

// What row `row` of a branch is asked for, and by which continuation.
struct BranchQuery {
  int64_t row = 0;
  int64_t id = 0;
  size_t continuation = 0;
};

// Ids [begin, end) of the sequences below it, which are the same in all of them.
struct Branch {
  Branch* parent = nullptr;
  const std::vector<int32_t>* ids = nullptr;
  size_t begin = 0, end = 0;
  std::vector<BranchQuery> queries;
  std::vector<std::unique_ptr<Branch>> children;
  size_t finished = 0;                   // continuations that end here
  std::unique_ptr<DecodingState> state;  // behind `end`, while children are to be read

  int64_t rows() const { return static_cast<int64_t>(end - begin); }
};

// The last id is only predicted, never read.
size_t rows_read(const Continuation& continuation) { return continuation.ids.size() - 1; }

class Tree {
 public:
  Tree(const std::vector<Continuation>& continuations, bool share) : continuations_(continuations) {
    order_.resize(continuations.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    if (!share) {
      for (const size_t index : order_) finish(add(root_, index, 0, rows(index).size()), index);
      return;
    }
    std::stable_sort(order_.begin(), order_.end(), [&](size_t left, size_t right) { return less(left, right); });
    if (!order_.empty()) grow(root_, 0, order_.size(), 0);
  }

  std::vector<std::unique_ptr<Branch>>& trunks() { return root_.children; }

 private:
  std::span<const int32_t> rows(size_t continuation) const {
    return std::span(continuations_[continuation].ids).first(rows_read(continuations_[continuation]));
  }

  bool less(size_t left, size_t right) const {
    const auto a = rows(left), b = rows(right);
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }

  size_t common(size_t left, size_t right) const {
    const auto a = rows(left), b = rows(right);
    return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  }

  // Adds below `parent` the sequences order_[first, last), of which `parent` covers the ids before `begin`.
  void grow(Branch& parent, size_t first, size_t last, size_t begin) {
    const size_t shared = common(order_[first], order_[last - 1]);  // sorted: so much is common to all between them
    // Where the sequences part: those that end there, then one group per next id.
    std::vector<size_t> parts{first};
    while (parts.back() < last) {
      const auto head = rows(order_[parts.back()]);
      size_t next = parts.back() + 1;
      while (next < last && same_part(head, rows(order_[next]), shared)) ++next;
      parts.push_back(next);
    }
    const bool alike = parts.size() == 2 && rows(order_[first]).size() == shared;
    const size_t saved = (parts.size() - 2) * (shared - begin);
    if (alike || saved >= kLeastTokensSaved) {
      auto& branch = add(parent, order_[first], begin, shared);
      size_t rest = first;
      for (; rest < last && rows(order_[rest]).size() == shared; ++rest) finish(branch, order_[rest]);
      for (size_t part = 0; part + 1 < parts.size(); ++part) {
        if (parts[part] >= rest) grow(branch, parts[part], parts[part + 1], shared);
      }
      return;
    }
    for (size_t part = 0; part + 1 < parts.size(); ++part) grow(parent, parts[part], parts[part + 1], begin);
  }

  static bool same_part(std::span<const int32_t> left, std::span<const int32_t> right, size_t shared) {
    if (left.size() == shared || right.size() == shared) return left.size() == right.size();
    return left[shared] == right[shared];
  }

  Branch& add(Branch& parent, size_t continuation, size_t begin, size_t end) {
    parent.children.push_back(std::make_unique<Branch>());
    auto& branch = *parent.children.back();
    branch.parent = &parent;
    branch.ids = &continuations_[continuation].ids;
    branch.begin = begin;
    branch.end = end;
    return branch;
  }

  // Asks every scored id of the row before it, which may be in a branch above.
  void finish(Branch& last, size_t index) {
    ++last.finished;
    const auto& continuation = continuations_[index];
    auto* branch = &last;
    for (size_t scored = continuation.ids.size() - 1; scored >= continuation.given; --scored) {
      const size_t row = scored - 1;
      while (row < branch->begin) branch = branch->parent;
      branch->queries.push_back({static_cast<int64_t>(row - branch->begin), continuation.ids[scored], index});
    }
  }

  const std::vector<Continuation>& continuations_;
  std::vector<size_t> order_;
  Branch root_;
};

class Reader {
 public:
  Reader(const LoadedModel& model, const ContinuationOptions& options, std::vector<ContinuationScore>& scores)
      : model_(*model.model), options_(options), scores_(scores) {}

  // Reads branches and all that is below them, depth first in batches: what is held is one batch per depth.
  void read(std::vector<std::unique_ptr<Branch>>& branches) {
    for (size_t first = 0; first < branches.size();) {
      size_t last = first;
      int64_t held = 0;
      while (last < branches.size()) {
        held += static_cast<int64_t>(branches[last]->end);
        if (last > first && held > options_.batch_tokens) break;
        ++last;
      }
      const std::span batch(branches.data() + first, last - first);
      read_batch(batch);
      std::vector<std::unique_ptr<Branch>> below;
      for (auto& branch : batch) {
        std::move(branch->children.begin(), branch->children.end(), std::back_inserter(below));
      }
      read(below);
      for (auto& branch : batch) branch->state.reset();
      first = last;
    }
  }

 private:
  void read_batch(std::span<std::unique_ptr<Branch>> batch) {
    std::vector<std::unique_ptr<DecodingState>> states;
    std::vector<DecodingState*> borrowed;
    std::vector<int64_t> ids, offsets{0};
    std::vector<TokenQuery> queries;
    std::vector<size_t> asked_by;
    for (const auto& branch : batch) {
      const bool continues = branch->begin > 0;
      states.push_back(continues ? branch->parent->state->fork() : model_.new_state());
      borrowed.push_back(states.back().get());
      ids.insert(ids.end(), branch->ids->begin() + static_cast<int64_t>(branch->begin),
                 branch->ids->begin() + static_cast<int64_t>(branch->end));
      for (const auto& query : branch->queries) {
        queries.push_back({offsets.back() + query.row, query.id});
        asked_by.push_back(query.continuation);
      }
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
    Batch rows;
    rows.token_T = at::tensor(ids, at::kLong);
    rows.documents = Documents::from_offsets(std::move(offsets));
    const auto y_TD = model_.step(rows, Decision::evaluation(options_.threshold), borrowed).y_TD;
    const auto answers = token_scores(model_, y_TD, queries);
    for (size_t i = 0; i < answers.size(); ++i) {
      scores_[asked_by[i]].logprob += answers[i].logprob;
      scores_[asked_by[i]].greedy &= answers[i].greedy;
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!batch[i]->children.empty()) batch[i]->state = std::move(states[i]);
      done_ += batch[i]->finished;
    }
    if (options_.progress) options_.progress(done_);
  }

  LanguageModel& model_;
  const ContinuationOptions& options_;
  std::vector<ContinuationScore>& scores_;
  size_t done_ = 0;
};

}  // namespace

std::vector<ContinuationScore> score_continuations(const LoadedModel& model,
                                                   const std::vector<Continuation>& continuations,
                                                   const ContinuationOptions& options) {
  const at::NoGradGuard no_gradient;
  for (const auto& continuation : continuations) {
    TORCH_CHECK(continuation.given >= 1 && continuation.given < continuation.ids.size(),
                "continuation: ", continuation.given, " of ", continuation.ids.size(), " ids given");
  }
  std::vector<ContinuationScore> scores(continuations.size());
  Tree tree(continuations, options.share_beginnings);
  Reader(model, options, scores).read(tree.trunks());
  return scores;
}

}  // namespace dlcm
