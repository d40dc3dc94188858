// Models of any size from one configuration: its token stacks and its backbone are each made larger or smaller in width
// and depth alike, by the cube root of the parameters asked for. What a configuration spends on head, attention and
// cross-attention follows, so that a size and a share say what training costs.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/flops.h"
#include "dlcm/scaling/law.h"

namespace dlcm {

class Family {
 public:
  // `base` has its vocabulary resolved and, where it is a DLCM, a backbone and token layers. Throws Error.
  explicit Family(Config base);

  // Operations that training spends on a token of windows of train.context.
  double training_flops_per_token(const RunScale& scale) const;
  // Embedding and head included.
  double total_parameters(const RunScale& scale) const;

  // The nearest configuration that can be built: whole layers, widths of whole groups of heads, a
  // feed-forward that takes up what their rounding leaves. Its own counts differ from those asked for.
  Config nearest(const RunScale& scale) const;

  const Config& base() const { return base_; }

 private:
  struct Growth {
    double token, concepts;  // factors on width, and again on depth
  };
  Growth growth(const RunScale& scale) const;

  // Operations of the base for one of each of Work's counts.
  struct Costs {
    Flops token, concepts, token_pair, concept_pair, cross_pair, entropy_pair;
  };

  Config base_;
  ParameterCount count_;
  Costs costs_;
};

// Bytes that a micro-batch of `tokens` keeps from the forward for the backward pass, all fp32, and the logits of one
// chunk of the cross-entropy: what training needs besides what training_memory counts. An estimate: work space of the
// products and the gradients on their way down come on top.
double activation_bytes(const Config& config, int64_t tokens);

}  // namespace dlcm
