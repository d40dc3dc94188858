#include "dlcm/infer/text_stream.h"

#include <gtest/gtest.h>

#include <vector>

namespace dlcm {
namespace {

// Characters of one to four bytes, with the second bytes that have limits of their own (E0, ED, F0, F4).
const std::vector<std::string> kCharacters{"a",      "\u00E9",     "\u0800",     "\u20AC",
                                           "\uD7FF", "\U00010000", "\U0001F600", "\U0010FFFF"};

TEST(TextStream, CharactersAreShownWhenWhole) {
  for (const auto& character : kCharacters) {
    TextStream stream;
    for (size_t i = 0; i + 1 < character.size(); ++i) EXPECT_EQ(stream.push(character.substr(i, 1)), "") << character;
    EXPECT_EQ(stream.push(character.substr(character.size() - 1)), character);
    EXPECT_EQ(stream.finish(), "");
  }
}

TEST(TextStream, OnlyTheUnfinishedEndIsHeldBack) {
  TextStream stream;
  EXPECT_EQ(stream.push("caf\xC3"), "caf");
  EXPECT_EQ(stream.push("\xA9 \xF0\x9F"), "\u00E9 ");
  EXPECT_EQ(stream.finish(), "\xF0\x9F");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, BytesThatBeginNoCharacterPass) {
  TextStream stream;
  EXPECT_EQ(stream.push("\x80"), "\x80");
  EXPECT_EQ(stream.push("\xC0"), "\xC0");
  EXPECT_EQ(stream.push("\xFF"), "\xFF");
  EXPECT_EQ(stream.push("\xE0\x80"), "\xE0\x80");  // overlong
  EXPECT_EQ(stream.push("\xED\xA0"), "\xED\xA0");  // a surrogate
  EXPECT_EQ(stream.push("\xF4\x90"), "\xF4\x90");  // beyond U+10FFFF
  EXPECT_EQ(stream.push("\xC3"), "");
  EXPECT_EQ(stream.push("a"),
            "\xC3"
            "a");
}

TEST(TextStream, NothingIsLostOfAnyBytes) {
  std::string bytes;
  uint32_t state = 1;
  for (int i = 0; i < 5000; ++i) bytes += static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  for (const auto& character : kCharacters) bytes += character;
  TextStream stream;
  std::string shown;
  for (const char byte : bytes) shown += stream.push(std::string_view(&byte, 1));
  shown += stream.finish();
  EXPECT_EQ(shown, bytes);
}

}  // namespace
}  // namespace dlcm
