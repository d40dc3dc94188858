// Text and data inside a page.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace dlcm {

// Text as HTML that is safe between tags and in quoted attributes; bytes that are no UTF-8 become U+FFFD.
std::string escape_html(std::string_view text);

// JSON text as content of a <script> element: no "<" is left.
std::string escape_script(std::string_view json);

// `page` with `values` in its {{places}}, once: what is put in is not searched.
std::string filled_template(std::string_view page, const std::map<std::string_view, std::string>& values);

}  // namespace dlcm
