#include "dlcm/tokenizer/text_input.h"

#include "dlcm/util/error.h"

namespace dlcm {

TextInput::TextInput(const std::vector<std::string>& paths, std::istream& standard_input)
    : input_(paths, InputRules{}, standard_input) {}

bool TextInput::next(std::string& document) {
  while (input_.next(record_)) {
    document = document_of(record_, JsonFields{}, input_.name_of_file(record_.file)).text;
    if (record_.fault) throw_fault(record_);
    if (!document.empty()) return true;
  }
  return false;
}

RecordDocument document_of(InputRecord& record, const JsonFields& fields, const std::string& file_name) {
  if (record.fault) return {};
  if (!record.is_json) return {.text = std::move(record.content)};
  JsonRecord json = read_json_record(record.content, fields);
  if (json.fault.empty()) return {.text = std::move(json.text), .domain = std::move(json.domain)};
  record.fault = json.is_json ? InputFault::wrong_field : InputFault::not_json;
  record.message = fmt::format(
      "expected a JSON object with a string \"{}\"{} in line {} of {}, found {}: correct or remove the line",
      fields.text, fields.domain.empty() ? "" : fmt::format(" and a string \"{}\"", fields.domain), record.line,
      file_name, json.fault);
  return {};
}

void throw_fault(const InputRecord& record) {
  if (record.fault == InputFault::unreadable_file) throw RuntimeFailure("{}", record.message);
  throw Error("{}", record.message);
}

}  // namespace dlcm
