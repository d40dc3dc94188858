// A model's weights by name, to and from safetensors: every parameter and every buffer.
#pragma once

#include "dlcm/io/safetensors.h"
#include "dlcm/model/language_model.h"

#include <map>
#include <string>
#include <vector>

namespace dlcm {

struct ExpectedTensor {
  std::vector<int64_t> shape;
  bool floating = true;
};

// Throws Error where names, shapes or kinds are not the expected ones; `where` names the origin in the message.
void check_tensors(const std::map<std::string, ExpectedTensor>& expected, const SafeTensors& content,
                   const std::string& where);

// The model's own tensors, not copies, under their names in the model.
SafeTensors save_parameters(const LanguageModel& model);

// Copies every tensor of `content` into the model in the model's type. Throws Error, and leaves the model as it was,
// where names or shapes are not those of the model; `where` names the origin in the message.
void load_parameters(LanguageModel& model, const SafeTensors& content, const std::string& where);

}  // namespace dlcm
