// The text of one line of a JSON-lines file, read without building the rest of the object.
#pragma once

#include <string>
#include <string_view>

namespace dlcm {

struct JsonFields {
  std::string text = "text";  // the field that holds the text
  std::string domain{};       // the field that holds the record's label; empty reads none
};

struct JsonRecord {
  std::string text{};
  std::string domain{};  // empty where no label is read
  // Empty, or what is wrong with the line, in words that follow "found": then `text` is empty.
  std::string fault{};
  bool is_json = true;  // false where the fault is that the line is no valid JSON at all
};

// Reads one line, which must hold one JSON object in UTF-8 with a string in each field of `fields`. Of a field that
// comes twice the last one counts. The depth of a value is not bounded and costs no stack.
JsonRecord read_json_record(std::string_view line, const JsonFields& fields);

}  // namespace dlcm
