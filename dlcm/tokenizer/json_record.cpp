#include "dlcm/tokenizer/json_record.h"

#include "dlcm/util/utf8.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <optional>

namespace dlcm {
namespace {

// One wanted field of the object: what it held when it was seen last.
struct WantedField {
  std::string_view name;
  std::optional<std::string> value{};
  std::string_view other_type{};  // the type it has instead of a string
};

// Follows the parser's events and keeps what stands in the wanted fields of the outermost object.
class FieldReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit FieldReader(const JsonFields& fields) : text_{fields.text}, domain_{fields.domain} {}

  bool null() override { return take("null"); }
  bool boolean(bool) override { return take("a boolean"); }
  bool number_integer(number_integer_t) override { return take("a number"); }
  bool number_unsigned(number_unsigned_t) override { return take("a number"); }
  bool number_float(number_float_t, const string_t&) override { return take("a number"); }
  bool binary(binary_t&) override { return take("bytes"); }
  bool string(string_t& value) override {
    WantedField* const field = current_;
    if (!take("a string")) return false;
    if (field != nullptr) field->value = std::move(value);
    return true;
  }
  bool start_object(std::size_t) override {
    if (depth_ > 0) take("an object");
    ++depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) current_ = name == text_.name ? &text_ : name == domain_.name ? &domain_ : nullptr;
    return true;
  }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override {
    ++depth_;
    return depth_ == 1 ? outermost_is("an array") : take("an array");
  }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    parse_fault_ = error.what();
    return false;
  }

  // What the line holds, after the parser has gone through it; `parsed` where it found no fault.
  JsonRecord result(bool parsed) {
    JsonRecord record;
    if (!outer_type_.empty()) {
      record.fault = fmt::format("{} instead of an object", outer_type_);
    } else if (!parsed) {
      record.is_json = false;
      record.fault = "no valid JSON" + reason();
    } else if (!text_.value) {
      record.fault = lacking(text_);
    } else if (!domain_.name.empty() && domain_.name != text_.name && !domain_.value) {
      record.fault = lacking(domain_);
    } else {
      record.text = std::move(*text_.value);
      record.domain = domain_.name == text_.name ? record.text : std::move(domain_.value).value_or("");
    }
    return record;
  }

 private:
  // A value stands where the parser is; false ends a line whose outermost value it is.
  bool take(std::string_view type) {
    if (depth_ == 0) return outermost_is(type);
    if (current_ != nullptr) {
      current_->value.reset();
      current_->other_type = type;
    }
    current_ = nullptr;
    return true;
  }

  bool outermost_is(std::string_view type) {
    outer_type_ = type;
    return false;
  }

  bool leave() {
    --depth_;
    return true;
  }

  static std::string lacking(const WantedField& field) {
    if (field.other_type.empty()) return fmt::format("no field \"{}\"", field.name);
    return fmt::format("{} in the field \"{}\"", field.other_type, field.name);
  }

  // nlohmann's message without its number, its place and the bytes last read, which may be no UTF-8.
  std::string reason() const {
    const auto begin = std::min(parse_fault_.find(": "), parse_fault_.find("] "));
    const auto end = parse_fault_.find("; last read");
    if (begin == std::string::npos) return "";
    const auto text = parse_fault_.substr(begin + 2, end == std::string::npos ? end : end - begin - 2);
    return is_utf8(text) ? fmt::format(" ({})", text) : "";
  }

  WantedField text_, domain_;
  WantedField* current_ = nullptr;  // the field that the next value belongs to
  int64_t depth_ = 0;
  std::string outer_type_, parse_fault_;
};

}  // namespace

JsonRecord read_json_record(std::string_view line, const JsonFields& fields) {
  FieldReader reader(fields);
  const bool parsed = nlohmann::json::sax_parse(line.begin(), line.end(), &reader);
  return reader.result(parsed);
}

}  // namespace dlcm
