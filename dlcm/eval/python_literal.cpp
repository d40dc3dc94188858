// ast.literal_eval for what data sets store as the text of a Python value: strings in lists and dictionaries.
#include "dlcm/eval/python_text.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

using nlohmann::json;

constexpr int kDeepest = 32;

class Reader {
 public:
  Reader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  json whole() {
    auto value = read(0);
    if (skip_space(); place_ < text_.size()) refuse("the end");
    return value;
  }

 private:
  [[noreturn]] void refuse(std::string_view expected) const {
    const auto found = place_ < text_.size() ? fmt::format("\"{}\"", text_.substr(place_, 12)) : "the end";
    throw Error("expected {} at byte {} of {}, found {}: correct or remove the line", expected, place_, where_, found);
  }

  void skip_space() {
    while (place_ < text_.size() && std::string_view(" \t\n\r\f").find(text_[place_]) != std::string_view::npos)
      ++place_;
  }

  // The next byte that is no white space; 0 at the end.
  char peek() {
    skip_space();
    return place_ < text_.size() ? text_[place_] : '\0';
  }

  bool take(char byte) {
    if (peek() != byte || place_ == text_.size()) return false;
    ++place_;
    return true;
  }

  json read(int depth) {
    if (depth > kDeepest) refuse("a value in fewer brackets");
    switch (peek()) {
      case '[':
        return sequence(']', depth);
      case '(':
        return sequence(')', depth);
      case '{':
        return dictionary(depth);
      case '\'':
      case '"':
        return strings();
      default:
        refuse("a string, a list or a dictionary");
    }
  }

  json sequence(char end, int depth) {
    ++place_;
    auto values = json::array();
    bool comma = true;
    while (!take(end)) {
      if (!comma) refuse(fmt::format("\",\" or \"{}\"", end));
      values.push_back(read(depth + 1));
      comma = take(',');
    }
    // ("a") is a string in brackets.
    if (end == ')' && values.size() == 1 && !comma) return values[0];
    return values;
  }

  json dictionary(int depth) {
    ++place_;
    auto values = json::object();
    bool comma = true;
    while (!take('}')) {
      if (!comma) refuse("\",\" or \"}\"");
      if (const char quote = peek(); quote != '\'' && quote != '"') refuse("a string as key");
      const std::string key = strings();
      if (!take(':')) refuse("\":\"");
      values[key] = read(depth + 1);
      comma = take(',');
    }
    return values;
  }

  // Strings side by side are one.
  std::string strings() {
    std::string text;
    for (char quote = peek(); quote == '\'' || quote == '"'; quote = peek()) append_string(text, quote);
    return text;
  }

  void append_string(std::string& text, char quote) {
    const bool triple = text_.substr(place_).starts_with(std::string(3, quote));
    const std::string end(triple ? 3 : 1, quote);
    place_ += end.size();
    while (!text_.substr(place_).starts_with(end)) {
      if (place_ >= text_.size() || (!triple && text_[place_] == '\n')) refuse("a closing quote");
      if (text_[place_] == '\\') {
        append_escape(text);
      } else {
        text += text_[place_++];
      }
    }
    place_ += end.size();
  }

  void append_escape(std::string& text) {
    constexpr std::string_view kEscapes = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (place_ + 1 >= text_.size()) refuse("a closing quote");
    const char kind = text_[place_ + 1];
    if (const size_t index = kEscapes.find(kind); index != std::string_view::npos) {
      text += kMeanings[index];
      place_ += 2;
    } else if (kind == '\n') {
      place_ += 2;
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
      append_code(text, place_ + 2, digits, digits, 16);
    } else if (kind >= '0' && kind <= '7') {
      append_code(text, place_ + 1, 1, 3, 8);
    } else if (kind == 'N') {
      refuse("no character by its name");
    } else {  // Python keeps a backslash that means nothing
      text += text_[place_++];
    }
  }

  void append_code(std::string& text, size_t first, size_t least, size_t most, char32_t base) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    char32_t code = 0;
    size_t count = 0;
    for (; count < most && first + count < text_.size(); ++count) {
      const size_t digit =
          kDigits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(text_[first + count]))));
      if (digit >= base) break;
      code = code * base + static_cast<char32_t>(digit);
    }
    if (count < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse("the code of a character");
    utf8_append(text, code);
    place_ = first + count;
  }

  std::string_view text_;
  const std::string& where_;
  size_t place_ = 0;
};

}  // namespace

json python_literal(std::string_view text, const std::string& where) { return Reader(text, where).whole(); }

}  // namespace dlcm
