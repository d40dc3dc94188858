#include "dlcm/infer/continuations.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace dlcm {
namespace {

// A fork of the tree costs about as much as reading this many tokens.
constexpr size_t kLeastTokensSaved = 16;

// What a row of a branch is asked for, and by which continuation.
struct BranchQuery {
  TokenQuery query;
  size_t continuation = 0;
};

// Ids [begin, end) of the sequences below it, which are the same in all of them.
struct Branch {
  Branch* parent = nullptr;
  const std::vector<int32_t>* ids = nullptr;
  size_t begin = 0, end = 0;
  std::vector<BranchQuery> queries;
  std::vector<std::unique_ptr<Branch>> children;
  size_t finished = 0;                 // continuations that end here
  std::unique_ptr<Sequence> sequence;  // behind `end`, while children are to be read

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
      branch->queries.push_back({{static_cast<int64_t>(row - branch->begin), continuation.ids[scored]}, index});
    }
  }

  const std::vector<Continuation>& continuations_;
  std::vector<size_t> order_;
  Branch root_;
};

class Reader {
 public:
  Reader(Engine& engine, const ContinuationOptions& options, std::vector<ContinuationScore>& scores)
      : engine_(engine), options_(options), scores_(scores) {}

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
      for (auto& branch : batch) branch->sequence.reset();
      first = last;
    }
  }

 private:
  void read_batch(std::span<std::unique_ptr<Branch>> batch) {
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<std::vector<TokenQuery>> queries;
    std::vector<EngineWork> works;
    for (const auto& branch : batch) {
      sequences.push_back(branch->begin > 0 ? branch->parent->sequence->fork() : engine_.new_sequence());
      std::stable_sort(branch->queries.begin(), branch->queries.end(),
                       [](const auto& left, const auto& right) { return left.query.row < right.query.row; });
      auto& asked = queries.emplace_back();
      for (const auto& query : branch->queries) asked.push_back(query.query);
      works.push_back({.sequence = sequences.back().get(),
                       .ids = std::span(*branch->ids).subspan(branch->begin, branch->end - branch->begin),
                       .threshold = options_.threshold,
                       .queries = {}});
    }
    for (size_t i = 0; i < works.size(); ++i) works[i].queries = queries[i];
    const auto results = engine_.step(works);
    for (size_t i = 0; i < batch.size(); ++i) {
      for (size_t query = 0; query < results[i].scores.size(); ++query) {
        auto& score = scores_[batch[i]->queries[query].continuation];
        score.logprob += results[i].scores[query].logprob;
        score.greedy &= results[i].scores[query].greedy;
      }
      if (!batch[i]->children.empty()) batch[i]->sequence = std::move(sequences[i]);
      done_ += batch[i]->finished;
    }
    if (options_.progress) options_.progress(done_);
  }

  Engine& engine_;
  const ContinuationOptions& options_;
  std::vector<ContinuationScore>& scores_;
  size_t done_ = 0;
};

}  // namespace

std::vector<ContinuationScore> score_continuations(Engine& engine, const std::vector<Continuation>& continuations,
                                                   const ContinuationOptions& options) {
  for (const auto& continuation : continuations) {
    TORCH_CHECK(continuation.given >= 1 && continuation.given < continuation.ids.size(),
                "continuation: ", continuation.given, " of ", continuation.ids.size(), " ids given");
  }
  std::vector<ContinuationScore> scores(continuations.size());
  Tree tree(continuations, options.share_beginnings);
  Reader(engine, options, scores).read(tree.trunks());
  return scores;
}

}  // namespace dlcm
