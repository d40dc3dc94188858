#include "dlcm/infer/parameters_io.h"

#include "dlcm/util/error.h"

#include <fmt/ranges.h>

#include <map>
#include <vector>

namespace dlcm {
namespace {

std::map<std::string, at::Tensor> named_tensors(const LanguageModel& model) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : model.named_parameters()) tensors[entry.key()] = entry.value();
  for (const auto& entry : model.named_buffers()) tensors[entry.key()] = entry.value();
  return tensors;
}

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// "a, b and 7 more", a few names of many.
std::string some_of(const std::vector<std::string>& items) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < items.size() && i < kShown; ++i) text += (i == 0 ? "" : ", ") + items[i];
  return items.size() > kShown ? fmt::format("{} and {} more", text, items.size() - kShown) : text;
}

}  // namespace

SafeTensors save_parameters(const LanguageModel& model) {
  SafeTensors content;
  for (const auto& [name, tensor] : named_tensors(model)) content.tensors[name] = tensor.detach();
  return content;
}

void check_tensors(const std::map<std::string, ExpectedTensor>& expected, const SafeTensors& content,
                   const std::string& where) {
  std::vector<std::string> missing, extra, different;
  for (const auto& [name, tensor] : expected) {
    const auto found = content.tensors.find(name);
    if (found == content.tensors.end()) {
      missing.push_back(name);
    } else if (found->second.sizes() != at::IntArrayRef(tensor.shape)) {
      different.push_back(
          fmt::format("{} is {} instead of {}", name, shape_text(found->second.sizes()), shape_text(tensor.shape)));
    } else if (found->second.is_floating_point() != tensor.floating) {
      different.push_back(fmt::format("{} has type {}", name, at::toString(found->second.scalar_type())));
    }
  }
  for (const auto& [name, tensor] : content.tensors) {
    if (!expected.contains(name)) extra.push_back(name);
  }
  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back("without " + some_of(missing));
  if (!extra.empty()) problems.push_back("with the unknown " + some_of(extra));
  if (!different.empty()) problems.push_back("where " + some_of(different));
  if (problems.empty()) return;
  throw Error(
      "expected the weights of the configured model in {}, found them {}: use the configuration that they were "
      "trained with",
      where, fmt::join(problems, "; "));
}

void load_parameters(LanguageModel& model, const SafeTensors& content, const std::string& where) {
  const auto tensors = named_tensors(model);
  std::map<std::string, ExpectedTensor> expected;
  for (const auto& [name, tensor] : tensors) expected[name] = {tensor.sizes().vec(), tensor.is_floating_point()};
  check_tensors(expected, content, where);
  const at::NoGradGuard no_gradient;
  for (const auto& [name, tensor] : tensors) {
    auto target = tensor;
    target.copy_(content.tensors.at(name));
  }
}

}  // namespace dlcm
