#include "dlcm/util/utf8.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(Utf8, EveryCodePointIsWrittenAndReadAgain) {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    utf8_append(text, code);
    ASSERT_EQ(utf8_length(text), text.size()) << static_cast<uint32_t>(code);
    ASSERT_EQ(utf8_decode(text), code);
  }
}

TEST(Utf8, ReplacingKeepsCharacters) {
  const std::string all = "a\u00E9\u0800\u20AC\uD7FF\U00010000\U0001F600\U0010FFFF";
  EXPECT_EQ(valid_utf8(all), all);
  EXPECT_EQ(valid_utf8(""), "");
}

// What Python 3.11 gives for bytes.decode("utf-8", errors="replace").
TEST(Utf8, ReplacesACutCharacterOnceAndOtherBytesOneByOne) {
  const auto marks = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "\uFFFD";
    return text;
  };
  using namespace std::literals;
  EXPECT_EQ(valid_utf8("a\xFF"
                       "b\xE2\x82"),
            "a\uFFFDb\uFFFD");
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98z"), "\uFFFDz");
  EXPECT_EQ(valid_utf8("\xF0\x9F\xF0\x9F\x98"), marks(2));
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), marks(3));      // a surrogate
  EXPECT_EQ(valid_utf8("\xE0\x80\xAF"), marks(3));      // overlong
  EXPECT_EQ(valid_utf8("\xC0\x80"), marks(2));          // overlong
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), marks(4));  // beyond U+10FFFF
  EXPECT_EQ(valid_utf8("\xF8\x88\x80\x80\x80"), marks(5));
  EXPECT_EQ(valid_utf8("\x80\xE2\x28\xA1"sv), "\uFFFD\uFFFD(\uFFFD");
}

}  // namespace
}  // namespace dlcm
