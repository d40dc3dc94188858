// The regular expression library whose syntax and meaning tokenizer.json files assume, behind the few calls that dlcm
// needs. Strings are well-formed UTF-8.
#pragma once

#include "dlcm/tokenizer/code_points.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// Bytes [begin, end) of a text.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const Span&) const = default;
};

class OnigurumaRegex {
 public:
  // Throws Error with Oniguruma's reason, and `where` as the place, if `pattern` does not compile.
  OnigurumaRegex(const std::string& pattern, const std::string& where);
  ~OnigurumaRegex();
  OnigurumaRegex(OnigurumaRegex&& other) noexcept;

  // The first match that begins at `from` or later. May be called by several threads at once. Throws Error where the
  // pattern needs more steps than Oniguruma allows for one match.
  std::optional<Span> search(std::string_view text, size_t from) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

// Oniguruma's table for a name that `\p{}` takes; the name must be known to it.
CodePoints oniguruma_property(std::string_view name);

// What matches `letter` without regard to case; nothing where that is more than single characters, or depends on the
// letters after it in `rest`.
std::optional<CodePoints> oniguruma_case_variants(char letter, std::string_view rest);

}  // namespace dlcm
