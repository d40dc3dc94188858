// Memory for time: a function whose backward pass runs it again instead of keeping what lies between.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace dlcm {

// run(x), of which only x is kept. `parameters` are all tensors that need a gradient and that `run` reads besides x;
// `run` must give the same result each time. Values and gradients are those of run(x), bit for bit.
at::Tensor checkpointed(const std::function<at::Tensor(const at::Tensor&)>& run, const at::Tensor& x,
                        const std::vector<at::Tensor>& parameters);

}  // namespace dlcm
