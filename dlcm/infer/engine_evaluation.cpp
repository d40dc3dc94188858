#include "dlcm/infer/engine_evaluation.h"

#include "dlcm/infer/rolling_windows.h"

namespace dlcm {
namespace {

// Rows read side by side, at least one window: bounds the memory for keys and values.
constexpr int64_t kRowsSideBySide = 8192;

using Ids = std::vector<int32_t>;

class WindowReader {
 public:
  WindowReader(Engine& engine, const std::vector<Ids>& documents, double threshold)
      : engine_(engine), tokenizer_(*engine.model().tokenizer), documents_(documents), threshold_(threshold) {}

  void read(std::span<const RollingWindow> windows) {
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<std::vector<TokenQuery>> queries;
    for (const auto& window : windows) {
      sequences.push_back(engine_.new_sequence());
      queries.push_back(queries_of(window));
    }
    std::vector<EngineWork> works;
    for (size_t i = 0; i < windows.size(); ++i) {
      works.push_back(
          {.sequence = sequences[i].get(),
           .ids = std::span(documents_[windows[i].document])
                      .subspan(static_cast<size_t>(windows[i].begin), static_cast<size_t>(windows[i].rows())),
           .threshold = threshold_,
           .queries = queries[i]});
    }
    const auto results = engine_.step(works);
    for (size_t i = 0; i < windows.size(); ++i) add(windows[i], queries[i], results[i]);
  }

  Evaluation finish() {
    if (p_.empty()) return std::move(sums_);
    const auto p = at::tensor(p_, at::kDouble);
    const auto& parser = engine_.model().config.parser;
    sums_.concepts_half = p.ge(0.5).sum().item<int64_t>();
    sums_.expected_concepts = sharpen(p, parser.temperature).sum().item<double>();
    if (parser.rule == BoundaryRule::learned) sums_.p.assign(p_.begin(), p_.end());
    return std::move(sums_);
  }

 private:
  // Every text id that a counting row predicts.
  std::vector<TokenQuery> queries_of(const RollingWindow& window) const {
    const auto& ids = documents_[window.document];
    std::vector<TokenQuery> queries;
    for (int64_t row = window.first; row < window.end; ++row) {
      const auto next = static_cast<size_t>(row) + 1;
      if (next == ids.size() || ids[next] == tokenizer_.end_of_text()) continue;
      queries.push_back({row - window.begin, ids[next]});
    }
    return queries;
  }

  void add(const RollingWindow& window, const std::vector<TokenQuery>& queries, const EngineResult& result) {
    for (size_t i = 0; i < queries.size(); ++i) {
      ++sums_.targets;
      sums_.bytes += static_cast<int64_t>(tokenizer_.piece(queries[i].id).size());
      sums_.nll -= result.scores[i].logprob;
    }
    if (window.first == 0) sums_.documents.emplace_back();
    auto& document = sums_.documents.back();
    for (int64_t row = window.first; row < window.end; ++row) {
      if (documents_[window.document][static_cast<size_t>(row)] == tokenizer_.end_of_text()) continue;
      ++document.tokens;
      ++sums_.tokens;
      if (result.boundary.empty()) continue;
      const auto place = static_cast<size_t>(row - window.begin);
      p_.push_back(result.boundary_prob[place]);
      if (result.boundary[place] == 0) continue;
      ++document.concepts;
      ++sums_.concepts;
    }
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const std::vector<Ids>& documents_;
  double threshold_;
  Evaluation sums_;
  std::vector<float> p_;
};

}  // namespace

Evaluation evaluate(Engine& engine, const std::vector<Ids>& documents, double threshold) {
  std::vector<int64_t> lengths;
  for (const auto& ids : documents) lengths.push_back(static_cast<int64_t>(ids.size()));
  const auto windows = rolling_windows(lengths, engine.model().config.train.context);
  WindowReader reader(engine, documents, threshold);
  for (size_t first = 0; first < windows.size();) {
    size_t last = first;
    int64_t rows = 0;
    while (last < windows.size() && (last == first || rows + windows[last].rows() <= kRowsSideBySide)) {
      rows += windows[last++].rows();
    }
    reader.read(std::span(windows).subspan(first, last - first));
    first = last;
  }
  return reader.finish();
}

}  // namespace dlcm
