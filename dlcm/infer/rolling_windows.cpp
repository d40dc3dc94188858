#include "dlcm/infer/rolling_windows.h"

#include <algorithm>

namespace dlcm {
namespace {

class Packer {
 public:
  Packer(int64_t context, int64_t batch_tokens) : context_(context), batch_tokens_(batch_tokens) {}

  void add(const std::vector<int32_t>& ids) {
    const auto predicted = static_cast<int64_t>(ids.size()) - 1;
    int64_t first = 0;  // row that predicts the window's first target
    do {
      const bool last = first + context_ >= predicted;
      const int64_t begin = last && first > 0 ? predicted - context_ : first;
      const int64_t end = last ? predicted + 1 : first + context_;
      add_window(ids, begin, first, end);
      first += context_;
    } while (first < predicted);
  }

  std::vector<RollingWindows> finish() {
    if (!token_.empty()) close_batch();
    return std::move(batches_);
  }

 private:
  // Rows [begin, end), which count from `first` on.
  void add_window(const std::vector<int32_t>& ids, int64_t begin, int64_t first, int64_t end) {
    if (!token_.empty() && static_cast<int64_t>(token_.size()) + end - begin > batch_tokens_) close_batch();
    const auto size = static_cast<int64_t>(ids.size());
    for (int64_t row = begin; row < end; ++row) {
      token_.push_back(ids[row]);
      target_.push_back(row >= first && row + 1 < size ? ids[row + 1] : -1);
      counts_.push_back(row >= first);
    }
    offsets_.push_back(static_cast<int64_t>(token_.size()));
  }

  void close_batch() {
    Batch batch;
    batch.token_T = at::tensor(token_, at::kLong);
    batch.target_T = at::tensor(target_, at::kLong);
    batch.documents = Documents::from_offsets(std::move(offsets_));
    batches_.push_back({std::move(batch), at::tensor(counts_, at::kLong).to(at::kBool)});
    token_.clear();
    target_.clear();
    counts_.clear();
    offsets_ = {0};
  }

  int64_t context_, batch_tokens_;
  std::vector<int64_t> token_, target_, counts_, offsets_{0};
  std::vector<RollingWindows> batches_;
};

}  // namespace

std::vector<RollingWindows> rolling_windows(const std::vector<std::vector<int32_t>>& documents, int64_t context,
                                            int64_t batch_tokens) {
  TORCH_CHECK(context > 0 && context <= batch_tokens, "context ", context, " of batches of ", batch_tokens);
  Packer packer(context, batch_tokens);
  for (const auto& document : documents) packer.add(document);
  return packer.finish();
}

}  // namespace dlcm
