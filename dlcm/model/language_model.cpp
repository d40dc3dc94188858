#include "dlcm/model/language_model.h"

namespace dlcm {
namespace {

constexpr int64_t kRows = 256;  // whose logits are held at a time

}  // namespace

at::Tensor LanguageModel::next_token_entropies(const at::Tensor& y_TD) const {
  auto entropy_T = at::empty({y_TD.size(0)}, at::kDouble);
  for (int64_t first = 0; first < y_TD.size(0); first += kRows) {
    const auto logprobs = at::log_softmax(logits(y_TD.slice(0, first, first + kRows)), -1);
    entropy_T.slice(0, first, first + kRows).copy_((logprobs.exp() * logprobs).sum(-1).neg());
  }
  return entropy_T;
}

}  // namespace dlcm
