// A value in a JSON file together with its place in it, so that what is wrong can be told by name.
#pragma once

#include "dlcm/util/error.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

namespace dlcm {

class JsonField {
 public:
  // `file` names the file in messages; both must outlive the field.
  JsonField(const nlohmann::json& root, const std::string& file) : value_(&root), file_(&file) {}

  const nlohmann::json& value() const { return *value_; }
  // "pre_tokenizer.pretokenizers[1] of FILE".
  std::string place() const;

  bool is_null() const;  // or missing
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;

  // Each throws Error where the value is of another type.
  JsonField operator[](std::string_view key) const;  // a null field where the key is missing
  const std::string& text() const;
  bool flag() const;
  int32_t number(int32_t largest) const;                                                               // from 0
  size_t size() const;                                                                                 // of an array
  void for_each(const std::function<void(const JsonField&)>& visit) const;                             // of an array
  void for_each_member(const std::function<void(const std::string&, const JsonField&)>& visit) const;  // of an object

  // Throws Error naming the first key of the object that is none of `keys`.
  void allow_only(std::initializer_list<std::string_view> keys) const;
  // Throws Error: expected `expected` here, found this; do `advice`.
  [[noreturn]] void refuse(std::string_view expected, std::string_view advice =
                                                          "dlcm reads byte-level BPE files as GPT-2, Llama-3, Qwen and "
                                                          "DeepSeek-V3 have them") const;

 private:
  static constexpr int64_t kNoIndex = -1;

  JsonField(const nlohmann::json& value, const std::string& file, std::string path, int64_t index = kNoIndex)
      : value_(&value), file_(&file), path_(std::move(path)), index_(index) {}

  std::string path() const;

  const nlohmann::json* value_;
  const std::string* file_;
  std::string path_;
  int64_t index_ = kNoIndex;  // in the array at path_; apart, because long arrays are read element by element
};

}  // namespace dlcm
