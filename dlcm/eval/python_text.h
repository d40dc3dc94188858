// The few functions of Python's strings in which published prompts are written (CPython 3's meaning of each).
// All text is valid UTF-8, as JSON holds it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace dlcm {

// str.strip() and the part that str.rstrip() removes: white space in the sense of str.isspace().
std::string_view python_strip(std::string_view text);
std::string_view python_trailing_space(std::string_view text);

// str.capitalize(): the first character in title case, the others in lower case, with Unicode's full mappings.
std::string python_capitalize(std::string_view text);

// str.replace(from, to), from left to right; `from` is not empty.
std::string python_replace(std::string_view text, std::string_view from, std::string_view to);

// len(text): code points.
size_t python_length(std::string_view text);

// ast.literal_eval of strings and of lists, tuples (as arrays) and dictionaries of them with strings as keys.
// Throws Error saying what was found where; `where` names the text in it.
nlohmann::json python_literal(std::string_view text, const std::string& where);

}  // namespace dlcm
