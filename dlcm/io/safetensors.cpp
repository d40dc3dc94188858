#include "dlcm/io/safetensors.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

namespace dlcm {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kAlignment = 8;
constexpr int64_t kLargestHeaderBytes = 100'000'000;
constexpr size_t kLargestRank = 64;
// The header nests three deep: the object, a tensor, its shape.
constexpr int kDeepestNesting = 3;

struct ElementType {
  std::string_view name;
  at::ScalarType type;
};
constexpr std::array<ElementType, 8> kElementTypes{{{"F64", at::kDouble},
                                                    {"F32", at::kFloat},
                                                    {"BF16", at::kBFloat16},
                                                    {"F16", at::kHalf},
                                                    {"I64", at::kLong},
                                                    {"I32", at::kInt},
                                                    {"U8", at::kByte},
                                                    {"BOOL", at::kBool}}};

struct TensorPlace {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  // In bytes behind the header.
  int64_t begin = 0;
  int64_t end = 0;
};

std::string_view element_name(at::ScalarType type) {
  const auto found = std::find_if(kElementTypes.begin(), kElementTypes.end(),
                                  [&](const ElementType& element) { return element.type == type; });
  TORCH_CHECK(found != kElementTypes.end(), "safetensors: no element type for ", type);
  return found->name;
}

// Everything wrong with a file is told in this form.
template <typename... Arguments>
[[noreturn]] void refuse(const std::string& path, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw Error("{} is no whole safetensors file: {}; use an undamaged copy", path,
              fmt::format(text, std::forward<Arguments>(arguments)...));
}

int64_t non_negative(const nlohmann::json& value, const std::string& path, const std::string& name,
                     std::string_view what) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    refuse(path, "expected a non-negative integer in {} of tensor \"{}\"", what, name);
  }
  return value.get<int64_t>();
}

// Reads one entry of the header and checks it by itself; its place among the others is checked by the caller.
TensorPlace read_entry(const std::string& path, const std::string& name, const nlohmann::json& entry) {
  TensorPlace place;
  place.name = name;
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!entry.is_object() || !entry.contains(key)) {
      refuse(path, "expected \"{}\" of tensor \"{}\" in the header, found none", key, name);
    }
  }
  const auto& type_name = entry["dtype"];
  const auto element = std::find_if(kElementTypes.begin(), kElementTypes.end(),
                                    [&](const ElementType& known) { return type_name == known.name; });
  if (element == kElementTypes.end()) {
    refuse(path, "tensor \"{}\" has an unknown element type", name);
  }
  place.type = element->type;

  const auto& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kLargestRank) {
    refuse(path, "expected a list of at most {} sizes as shape of tensor \"{}\"", kLargestRank, name);
  }
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(place.type));
  int64_t tensor_bytes = element_bytes;
  // Strides multiply sizes as if none were zero, so this product must fit too.
  int64_t stride_bytes = element_bytes;
  for (const auto& value : shape) {
    const int64_t size = non_negative(value, path, name, "the shape");
    if (__builtin_mul_overflow(stride_bytes, std::max<int64_t>(size, 1), &stride_bytes)) {
      refuse(path, "the shape of tensor \"{}\" is too large", name);
    }
    tensor_bytes *= size;
    place.shape.push_back(size);
  }

  const auto& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    refuse(path, "expected two data_offsets of tensor \"{}\"", name);
  }
  place.begin = non_negative(offsets[0], path, name, "data_offsets");
  place.end = non_negative(offsets[1], path, name, "data_offsets");
  if (place.end < place.begin || place.end - place.begin != tensor_bytes) {
    refuse(path, "the shape of tensor \"{}\" takes {} bytes, its data_offsets are {} and {}", name, tensor_bytes,
           place.begin, place.end);
  }
  return place;
}

nlohmann::json parse_header(const std::string& path, const std::string& text) {
  const auto check_nesting = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json&) {
    using Event = nlohmann::json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= kDeepestNesting) {
      refuse(path, "its header is nested too deeply");
    }
    return true;
  };
  try {
    auto header = nlohmann::json::parse(text, check_nesting);
    if (!header.is_object()) {
      refuse(path, "its header is no JSON object");
    }
    return header;
  } catch (const nlohmann::json::exception&) {
    refuse(path, "its header is no JSON");
  }
}

struct Layout {
  std::vector<TensorPlace> places;  // in the order in which they lie
  std::map<std::string, std::string> metadata;
  int64_t data_begin = 0;
};

// What lies where; every length is checked against the file.
Layout read_layout(const InputFile& file, const std::string& path) {
  if (file.bytes() < kLengthBytes) {
    refuse(path, "expected at least {} bytes, found {}", kLengthBytes, file.bytes());
  }
  uint64_t stated_bytes = 0;
  file.read(0, &stated_bytes, sizeof(stated_bytes));
  const int64_t largest_bytes = std::min(file.bytes() - kLengthBytes, kLargestHeaderBytes);
  if (stated_bytes > static_cast<uint64_t>(largest_bytes)) {
    refuse(path, "expected a header of at most {} bytes, found {}", largest_bytes, stated_bytes);
  }
  std::string text(stated_bytes, '\0');
  file.read(kLengthBytes, text.data(), static_cast<int64_t>(text.size()));
  const auto header = parse_header(path, text);
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t data_bytes = file.bytes() - data_begin;

  Layout layout;
  auto& places = layout.places;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      places.push_back(read_entry(path, name, entry));
      continue;
    }
    if (!entry.is_object()) {
      refuse(path, "its __metadata__ is no JSON object");
    }
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) {
        refuse(path, "expected text as \"{}\" of its __metadata__", key);
      }
      layout.metadata[key] = value.get<std::string>();
    }
  }

  // Without gaps and overlaps, all sizes together are those of the file: nothing larger is ever allocated.
  std::sort(places.begin(), places.end(), [](const TensorPlace& left, const TensorPlace& right) {
    return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
  });
  int64_t offset = 0;
  for (const auto& place : places) {
    if (place.begin != offset) {
      refuse(path, "tensor \"{}\" begins at {}, where the one before it ends at {}", place.name, place.begin, offset);
    }
    offset = place.end;
  }
  if (offset != data_bytes) {
    refuse(path, "its tensors take {} bytes, the file has {} for them", offset, data_bytes);
  }

  layout.data_begin = data_begin;
  return layout;
}

}  // namespace

void save_safetensors(const std::string& path, const SafeTensors& content) {
  // Largest elements first, then by name: every tensor is aligned to its element, and equal content gives equal files.
  std::vector<const std::pair<const std::string, at::Tensor>*> ordered;
  for (const auto& entry : content.tensors) {
    ordered.push_back(&entry);
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto* left, const auto* right) {
    return left->second.element_size() > right->second.element_size();
  });

  std::vector<SafeTensorsWriter::Tensor> tensors;
  for (const auto* entry : ordered) {
    tensors.push_back({entry->first, entry->second.scalar_type(), entry->second.sizes().vec()});
  }
  SafeTensorsWriter writer(path, content.metadata, tensors, kAlignment);
  for (const auto* entry : ordered) {
    const auto host = entry->second.detach().to(at::kCPU).contiguous();
    writer.append({static_cast<const char*>(host.const_data_ptr()), static_cast<size_t>(host.nbytes())});
  }
  writer.close();
}

SafeTensors load_safetensors(const std::string& path) {
  const InputFile file(path);
  auto layout = read_layout(file, path);
  SafeTensors content;
  content.metadata = std::move(layout.metadata);
  for (const auto& place : layout.places) {
    auto tensor = at::empty(place.shape, at::TensorOptions().dtype(place.type));
    const int64_t length = place.end - place.begin;
    file.read(layout.data_begin + place.begin, tensor.mutable_data_ptr(), length);
    if (place.type == at::kBool) {
      const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
      if (std::any_of(bytes, bytes + length, [](uint8_t byte) { return byte > 1; })) {
        refuse(path, "tensor \"{}\" has a truth value other than 0 and 1", place.name);
      }
    }
    content.tensors.emplace(place.name, std::move(tensor));
  }
  return content;
}

MappedSafeTensors::MappedSafeTensors(const std::string& path) : file_(path) {
  auto layout = read_layout(InputFile(path), path);
  for (const auto& place : layout.places) {
    if (layout.data_begin + place.end > static_cast<int64_t>(file_.bytes().size())) {
      refuse(path, "it became shorter while it was read");
    }
    tensors_[place.name] = {place.type, place.shape,
                            file_.bytes().subspan(static_cast<size_t>(layout.data_begin + place.begin),
                                                  static_cast<size_t>(place.end - place.begin))};
  }
  metadata_ = std::move(layout.metadata);
}

SafeTensors MappedSafeTensors::views() const {
  SafeTensors content;
  content.metadata = metadata_;
  for (const auto& [name, tensor] : tensors_) {
    content.tensors[name] = at::from_blob(const_cast<std::byte*>(tensor.bytes.data()), tensor.shape, tensor.type);
  }
  return content;
}

int64_t SafeTensorsWriter::Tensor::bytes() const {
  auto bytes = static_cast<int64_t>(c10::elementSize(type));
  for (const int64_t size : shape) bytes *= size;
  return bytes;
}

SafeTensorsWriter::SafeTensorsWriter(const std::string& path, const std::map<std::string, std::string>& metadata,
                                     const std::vector<Tensor>& tensors, int64_t alignment)
    : file_(path) {
  auto header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const auto& tensor : tensors) {
    TORCH_CHECK(tensor.name != "__metadata__", "safetensors: __metadata__ is no tensor's name");
    const int64_t end = missing_bytes_ + tensor.bytes();
    header[tensor.name] = {
        {"dtype", element_name(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {missing_bytes_, end}}};
    missing_bytes_ = end;
  }
  std::string text = header.dump();
  const auto begin =
      static_cast<size_t>((kLengthBytes + static_cast<int64_t>(text.size()) + alignment - 1) / alignment * alignment);
  text.resize(begin - kLengthBytes, ' ');
  TORCH_CHECK(static_cast<int64_t>(text.size()) <= kLargestHeaderBytes, "safetensors: header of ", text.size(),
              " bytes");
  const uint64_t header_bytes = text.size();
  file_.append({reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes)});
  file_.append(text);
}

void SafeTensorsWriter::append(std::string_view bytes) {
  missing_bytes_ -= static_cast<int64_t>(bytes.size());
  file_.append(bytes);
}

void SafeTensorsWriter::close() {
  TORCH_CHECK(missing_bytes_ == 0, "safetensors: ", missing_bytes_, " bytes of the tensors were not written");
  file_.close();
}

}  // namespace dlcm
