// Unicode normalization form C as PyPI's `tokenizers` has it: its tables are those of Unicode 9.0, so that what later
// versions assigned stays as it is and separates what is on either side. ICU does the work.
#pragma once

#include <string>
#include <string_view>

namespace dlcm {

// `text` (well-formed UTF-8) where it is normalized already; else its form C, held by `storage`.
std::string_view normalized_form_c(std::string_view text, std::string& storage);

}  // namespace dlcm
