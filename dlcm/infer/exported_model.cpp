#include "dlcm/infer/exported_model.h"

#include "dlcm/io/hash.h"
#include "dlcm/model/parameters.h"
#include "dlcm/util/error.h"

#include <ATen/CPUGeneratorImpl.h>
#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <set>

namespace dlcm {
namespace {

constexpr const char* kFormat = "dlcm-model";
constexpr const char* kVersion = "1";
// How packed_matrix.h lays matrices out; another arrangement gets another name.
constexpr const char* kLayout = "panels-32";
constexpr const char* kTokenizer = "tokenizer";
constexpr std::array<std::string_view, 4> kFormatNames{"float32", "bfloat16", "int8", "int4"};

template <typename... Arguments>
[[noreturn]] void refuse(const std::string& path, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw Error("{} is no exported model that can be used: {}; export it again", path,
              fmt::format(text, std::forward<Arguments>(arguments)...));
}

WeightFormat format_of(std::string_view name, const std::string& path) {
  const auto found = std::find(kFormatNames.begin(), kFormatNames.end(), name);
  if (found == kFormatNames.end()) refuse(path, "its weights are in the unknown format \"{}\"", name);
  return static_cast<WeightFormat>(found - kFormatNames.begin());
}

// Matrices first, each a multiple of the alignment; then vectors; then the tokenizer.
std::vector<WeightSlot> in_file_order(std::vector<WeightSlot> slots) {
  std::stable_partition(slots.begin(), slots.end(), [](const WeightSlot& slot) { return slot.matrix != nullptr; });
  return slots;
}

std::string_view text_of(const std::byte* data, size_t bytes) { return {reinterpret_cast<const char*>(data), bytes}; }

class MetadataReader {
 public:
  MetadataReader(const MappedSafeTensors& file, const std::string& path) : file_(file), path_(path) {}

  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end()) refuse(path_, "expected \"{}\" in its metadata, found none", key);
    return found->second;
  }

  void require(const std::string& key, std::string_view expected) const {
    if (text(key) != expected) refuse(path_, "expected {} \"{}\", found \"{}\"", key, expected, text(key));
  }

  nlohmann::json json(const std::string& key) const {
    auto value = nlohmann::json::parse(text(key), nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) refuse(path_, "its \"{}\" is no JSON", key);
    return value;
  }

  int64_t count(const std::string& key) const {
    const auto value = json(key);
    if (!value.is_number_unsigned()) refuse(path_, "expected a count as \"{}\", found {}", key, text(key));
    return value.get<int64_t>();
  }

 private:
  const MappedSafeTensors& file_;
  const std::string& path_;
};

const MappedSafeTensors::Tensor& tensor_of(const MappedSafeTensors& file, const std::string& path,
                                           const std::string& name, at::ScalarType type) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) refuse(path, "it lacks {}", name);
  if (found->second.type != type || found->second.shape.size() != 1) {
    refuse(path, "expected {} as a row of {}, found {} of {} dimensions", name, at::toString(type),
           at::toString(found->second.type), found->second.shape.size());
  }
  return found->second;
}

// Points `slot` into the file.
void bind(const MappedSafeTensors& file, const std::string& path, const WeightSlot& slot,
          const nlohmann::json& matrices) {
  auto format = WeightFormat::float32;
  if (slot.matrix != nullptr) {
    const auto found = matrices.find(slot.name);
    if (found == matrices.end() || !found->is_string()) refuse(path, "its metadata tells no format of {}", slot.name);
    format = format_of(found->get_ref<const std::string&>(), path);
  }
  const auto& tensor = tensor_of(file, path, slot.name, slot.matrix != nullptr ? at::kByte : at::kFloat);
  if (tensor.bytes.size() != stored_bytes(slot, format)) {
    refuse(path, "expected {} bytes of {}, found {}", stored_bytes(slot, format), slot.name, tensor.bytes.size());
  }
  const size_t alignment = slot.matrix != nullptr ? kPackedAlignment : alignof(float);
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignment != 0) {
    refuse(path, "{} does not begin at a multiple of {} bytes", slot.name, alignment);
  }
  bind_weight(slot, format, tensor.bytes.data());
}

}  // namespace

std::string_view name_of(WeightFormat format) { return kFormatNames[static_cast<size_t>(format)]; }

void write_exported_model(const std::string& path, const ModelFacts& facts, WeightFormat format,
                          const ParameterSource& source,
                          const std::function<void(int64_t done, int64_t total)>& progress) {
  ModelWeights none;
  const auto slots = in_file_order(weight_slots(facts.config, none));
  std::vector<SafeTensorsWriter::Tensor> tensors;
  nlohmann::json matrices;
  int64_t total = 0;
  for (const auto& slot : slots) {
    const auto own_format = stored_format(slot, format);
    const auto bytes = static_cast<int64_t>(stored_bytes(slot, own_format));
    if (slot.matrix != nullptr) {
      TORCH_CHECK(bytes % kPackedAlignment == 0, "export: ", slot.name, " takes ", bytes, " bytes");
      matrices[slot.name] = name_of(own_format);
      tensors.push_back({slot.name, at::kByte, {bytes}});
    } else {
      tensors.push_back({slot.name, at::kFloat, {slot.inputs}});
    }
    total += bytes;
  }
  const auto& tokenizer = facts.tokenizer->serialized();
  tensors.push_back({kTokenizer, at::kByte, {static_cast<int64_t>(tokenizer.size())}});
  SafeTensorsWriter writer(path,
                           {{"format", kFormat},
                            {"version", kVersion},
                            {"layout", kLayout},
                            {"weights", std::string(name_of(format))},
                            {"matrices", matrices.dump()},
                            {"config", to_toml(facts.config)},
                            {"step", std::to_string(facts.step)},
                            {"tokens", std::to_string(facts.tokens_seen)},
                            {"boundary_quantiles", nlohmann::json(facts.boundary_quantiles).dump()}},
                           tensors, kPackedAlignment);
  ThreadPool threads(ThreadPool::processors());
  std::vector<std::byte> packed;
  int64_t done = 0;
  for (const auto& slot : slots) {
    const auto own_format = stored_format(slot, format);
    packed.resize(stored_bytes(slot, own_format));
    pack_weight(threads, slot, own_format, source, packed.data());
    writer.append(text_of(packed.data(), packed.size()));
    done += static_cast<int64_t>(packed.size());
    if (progress) progress(done, total);
  }
  writer.append(tokenizer);
  writer.close();
}

bool is_exported_model(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

EngineModel map_exported_model(const std::string& path) {
  const auto file = std::make_shared<const MappedSafeTensors>(path);
  const MetadataReader metadata(*file, path);
  metadata.require("format", kFormat);
  metadata.require("version", kVersion);
  metadata.require("layout", kLayout);
  EngineModel model;
  model.path = path;
  model.config = parse_config(metadata.text("config"), path);
  model.format = format_of(metadata.text("weights"), path);
  model.step = metadata.count("step");
  model.tokens_seen = metadata.count("tokens");
  model.boundary_quantiles = read_quantiles(metadata.json("boundary_quantiles"), path);
  const auto& tokenizer = tensor_of(*file, path, kTokenizer, at::kByte).bytes;
  set_tokenizer(model, tokenizer_from_serialized(std::string(text_of(tokenizer.data(), tokenizer.size())), path));
  const auto matrices = metadata.json("matrices");
  std::set<std::string> known{kTokenizer};
  for (const auto& slot : weight_slots(model.config, model.weights)) {
    bind(*file, path, slot, matrices);
    known.insert(slot.name);
  }
  for (const auto& [name, tensor] : file->tensors()) {
    if (!known.contains(name)) refuse(path, "it has {}, which its configuration does not know", name);
    if (name != kTokenizer) model.weight_bytes += static_cast<int64_t>(tensor.bytes.size());
  }
  model.storage = file;
  return model;
}

ParameterSource random_parameters(const Config& config, int64_t seed) {
  return [config, seed](const std::string& name, const std::vector<int64_t>& shape) {
    const auto own_seed = std::stoull(hash_bytes(fmt::format("{} {}", seed, name)).substr(0, 16), nullptr, 16);
    auto generator = at::detail::createCPUGenerator(own_seed);
    auto value = at::empty(shape);
    draw_initial_value(name, config, generator, value);
    return value;
  };
}

}  // namespace dlcm
