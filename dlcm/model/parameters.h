// Which width and which learning rate each parameter follows, and its initial value (SPEC section 4).
#pragma once

#include "dlcm/config/config.h"

#include <torch/nn/module.h>

#include <string>

namespace dlcm {

enum class ParameterRole { token_matrix, concept_matrix, embedding, head, gain };

// By the parameter's name in the model: W_up, the parser, Psi's query and output are token matrices, Psi's key and
// value concept matrices, the rest belong to their stack. The start concept counts as a gain.
ParameterRole role_of(const std::string& name);

// Draws every parameter in place from `seed`: hidden matrices N(0, std^2 / s), residual outputs scaled by
// 1 / sqrt(2 layers), embedding, head and start concept N(0, std^2), gains 1, the parser's q and k identity rows.
void initialise(torch::nn::Module& model, const Config& config);

// The same for one parameter, by its name.
void draw_initial_value(const std::string& name, const Config& config, at::Generator& generator, at::Tensor& value);

}  // namespace dlcm
