// The fields of a request's JSON object, read with their types and bounds. What is missing or null is nothing; fields
// that nobody reads are ignored.
#pragma once

#include "dlcm/serve/api_error.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dlcm {

class RequestFields {
 public:
  // Throws ApiError (400) where `body` is no JSON object in UTF-8, or is nested deeper than any request is.
  explicit RequestFields(std::string_view body);

  // Each throws ApiError (400) naming the field where it has another type or is out of bounds.
  std::optional<bool> flag(std::string_view name) const;
  std::optional<int64_t> whole(std::string_view name, int64_t least, int64_t most) const;
  std::optional<double> number(std::string_view name, double least, double most) const;
  std::optional<std::string> text(std::string_view name) const;

  // The value, or null.
  const nlohmann::json& value(std::string_view name) const;

  // Throws ApiError (400) where the field is there and is none of the values that change nothing.
  void refuse_unless(std::string_view name, bool neutral, std::string_view advice) const;

 private:
  nlohmann::json object_;
};

// What was found, for messages: short values as they are, others by their type.
std::string found(const nlohmann::json& value);

}  // namespace dlcm
