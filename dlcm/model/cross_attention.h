// The cross-attention Psi, before the decoder or before each of its layers: token t reads places 1 .. j(t) of its
// document.
//   Psi(H, Z) = H + W_o softmax(Q K^T / sqrt(H)) V, Q from H, K and V from the smoothed places (SPEC section 1).
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/parser.h"
#include "dlcm/model/segmentation.h"
#include "dlcm/nn/linear.h"
#include "dlcm/nn/norm.h"

#include <torch/nn/module.h>

#include <vector>

namespace dlcm {

class CrossAttentionImpl : public torch::nn::Module {
 public:
  explicit CrossAttentionImpl(const Config& config);

  // h_TD raw, z_SW smoothed places -> [T, D].
  at::Tensor forward(const at::Tensor& h_TD, const at::Tensor& z_SW, const Segmentation& segmentation, const Cut& cut,
                     const Documents& documents);

 private:
  at::Tensor queries(const at::Tensor& h_TD, const Segmentation& segmentation) const;
  at::Tensor keys(const at::Tensor& z_SW, const Segmentation& segmentation) const;
  // Rotated by each row's place in its document, where Psi has positions.
  at::Tensor placed(const at::Tensor& x, const at::Tensor& place) const;
  at::Tensor values(const at::Tensor& z_SW) const;
  // Adds W_o of the attention's output to H; under straight_through p gets a gradient here.
  at::Tensor residual(const at::Tensor& h_TD, const at::Tensor& mixed_TNH, const Cut& cut) const;

  StackConfig stack_;
  CrossAttentionReading reading_;
  ParserGradient gradient_;
  CrossAttentionPositions positions_;
  double rope_theta_;
  RmsNorm norm_, query_norm_, key_norm_;
  Linear query_, key_, value_, output_;
};
TORCH_MODULE(CrossAttention);

}  // namespace dlcm
