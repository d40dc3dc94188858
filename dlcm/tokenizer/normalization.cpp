#include "dlcm/tokenizer/normalization.h"

#include "dlcm/util/error.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace dlcm {
namespace {

void check(UErrorCode status) {
  if (U_FAILURE(status)) throw RuntimeFailure("ICU cannot normalize a text: {}", u_errorName(status));
}

const icu::Normalizer2& form_c() {
  static const icu::Normalizer2* normalizer = [] {
    UErrorCode status = U_ZERO_ERROR;
    const auto* instance = icu::Normalizer2::getNFCInstance(status);
    check(status);
    return instance;
  }();
  return *normalizer;
}

const icu::Normalizer2& form_c_of_unicode_9() {
  static const icu::FilteredNormalizer2 normalizer = [] {
    UErrorCode status = U_ZERO_ERROR;
    static icu::UnicodeSet assigned(UNICODE_STRING_SIMPLE("[:age=9.0:]"), status);
    check(status);
    assigned.freeze();
    return icu::FilteredNormalizer2(form_c(), assigned);
  }();
  return normalizer;
}

icu::StringPiece piece_of(std::string_view text) { return {text.data(), static_cast<int32_t>(text.size())}; }

}  // namespace

std::string_view normalized_form_c(std::string_view text, std::string& storage) {
  // No character below U+0300 changes or joins another one; they begin with bytes below 0xCC.
  const auto found =
      std::find_if(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) >= 0xCC; });
  if (found == text.end()) return text;
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 3) {
    throw Error("expected a text of at most {} bytes to normalize, found {}: cut it into several documents",
                std::numeric_limits<int32_t>::max() / 3, text.size());
  }
  UErrorCode status = U_ZERO_ERROR;
  // A text in form C of a later version is in that of every version before.
  const bool normalized = form_c().isNormalizedUTF8(piece_of(text), status);
  check(status);
  if (normalized) return text;
  storage.clear();
  icu::StringByteSink<std::string> sink(&storage, static_cast<int32_t>(text.size()));
  form_c_of_unicode_9().normalizeUTF8(0, piece_of(text), sink, nullptr, status);
  check(status);
  return storage;
}

}  // namespace dlcm
