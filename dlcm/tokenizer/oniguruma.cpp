#include "dlcm/tokenizer/oniguruma.h"

#include "dlcm/util/error.h"

#include <c10/util/Exception.h>
#include <oniguruma.h>

#include <array>
#include <mutex>

namespace dlcm {
namespace {

const OnigUChar* bytes_of(std::string_view text) { return reinterpret_cast<const OnigUChar*>(text.data()); }

void initialize() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encoding = ONIG_ENCODING_UTF8;
    onig_initialize(&encoding, 1);
  });
}

std::string reason(int code, OnigErrorInfo* information = nullptr) {
  std::array<OnigUChar, ONIG_MAX_ERROR_MESSAGE_LEN> message{};
  const int length = information == nullptr ? onig_error_code_to_str(message.data(), code)
                                            : onig_error_code_to_str(message.data(), code, information);
  return {reinterpret_cast<const char*>(message.data()), static_cast<size_t>(length)};
}

struct FreeRegion {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};

}  // namespace

struct OnigurumaRegex::Implementation {
  OnigRegex regex = nullptr;
  std::string where;

  ~Implementation() { onig_free(regex); }
};

OnigurumaRegex::OnigurumaRegex(const std::string& pattern, const std::string& where)
    : implementation_(std::make_unique<Implementation>()) {
  initialize();
  implementation_->where = where;
  OnigErrorInfo information{};
  const auto* begin = bytes_of(pattern);
  const int code = onig_new(&implementation_->regex, begin, begin + pattern.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &information);
  if (code != ONIG_NORMAL) {
    throw Error("expected a regular expression that Oniguruma takes in {}, found {} ({}): correct it", where, pattern,
                reason(code, &information));
  }
}

OnigurumaRegex::~OnigurumaRegex() = default;
OnigurumaRegex::OnigurumaRegex(OnigurumaRegex&&) noexcept = default;

std::optional<Span> OnigurumaRegex::search(std::string_view text, size_t from) const {
  const std::unique_ptr<OnigRegion, FreeRegion> region(onig_region_new());
  const auto* begin = bytes_of(text);
  const auto* end = begin + text.size();
  const int found = onig_search(implementation_->regex, begin, end, begin + from, end, region.get(), ONIG_OPTION_NONE);
  if (found == ONIG_MISMATCH) return std::nullopt;
  if (found < 0) {
    throw Error(
        "expected a regular expression that Oniguruma can match in {}, but it gave up on a text of {} bytes "
        "({}): simplify it",
        implementation_->where, text.size(), reason(found));
  }
  return Span{static_cast<size_t>(region->beg[0]), static_cast<size_t>(region->end[0])};
}

CodePoints oniguruma_property(std::string_view name) {
  initialize();
  auto* encoding = ONIG_ENCODING_UTF8;
  std::string text(name);  // which Oniguruma wants to be writable
  auto* begin = reinterpret_cast<OnigUChar*>(text.data());
  const int type = encoding->property_name_to_ctype(encoding, begin, begin + text.size());
  OnigCodePoint single_byte_end = 0;
  const OnigCodePoint* table = nullptr;  // the number of ranges, then their ends
  TORCH_CHECK(type >= 0 && encoding->get_ctype_code_range(static_cast<OnigCtype>(type), &single_byte_end, &table) == 0,
              "Oniguruma has no property ", text);
  std::vector<CodePoints::Range> ranges;
  for (OnigCodePoint index = 0; index < table[0]; ++index) {
    ranges.push_back({table[1 + 2 * index], table[2 + 2 * index]});
  }
  return CodePoints(std::move(ranges));
}

std::optional<CodePoints> oniguruma_case_variants(char letter, std::string_view rest) {
  initialize();
  auto* encoding = ONIG_ENCODING_UTF8;
  const std::string text = letter + std::string(rest);
  std::array<OnigCaseFoldCodeItem, ONIGENC_GET_CASE_FOLD_CODES_MAX_NUM> items{};
  const int count = encoding->get_case_fold_codes_by_str(ONIGENC_CASE_FOLD_MIN, bytes_of(text),
                                                         bytes_of(text) + text.size(), items.data());
  if (count < 0) return std::nullopt;
  std::vector<CodePoints::Range> variants{{static_cast<unsigned char>(letter), static_cast<unsigned char>(letter)}};
  for (int index = 0; index < count; ++index) {
    const auto& item = items[static_cast<size_t>(index)];
    if (item.byte_len != 1 || item.code_len != 1) return std::nullopt;
    variants.push_back({item.code[0], item.code[0]});
  }
  return CodePoints(std::move(variants));
}

}  // namespace dlcm
