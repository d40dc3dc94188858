// How well the engine's model predicts documents: the sums of infer/evaluation.h, over rolling windows.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/infer/evaluation.h"

#include <cstdint>
#include <vector>

namespace dlcm {

// Documents of at least one id, which is given; read in rolling windows of train.context, boundaries at `threshold`.
Evaluation evaluate(Engine& engine, const std::vector<std::vector<int32_t>>& documents, double threshold);

}  // namespace dlcm
