#include "dlcm/analysis/html.h"

#include "dlcm/util/utf8.h"

#include <c10/util/Exception.h>

namespace dlcm {

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '\0':
        result += "\xEF\xBF\xBD";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string escape_script(std::string_view json) {
  std::string result;
  for (const char c : json) {
    if (c == '<') {
      result += "\\u003c";
    } else {
      result += c;
    }
  }
  return result;
}

std::string filled_template(std::string_view page, const std::map<std::string_view, std::string>& values) {
  std::string result;
  while (true) {
    const size_t begin = page.find("{{");
    result.append(page.substr(0, begin));
    if (begin == std::string_view::npos) return result;
    const size_t end = page.find("}}", begin);
    TORCH_CHECK(end != std::string_view::npos, "the page has an open {{");
    const auto found = values.find(page.substr(begin + 2, end - begin - 2));
    TORCH_CHECK(found != values.end(), "the page names an unknown place");
    result += found->second;
    page.remove_prefix(end + 2);
  }
}

}  // namespace dlcm
