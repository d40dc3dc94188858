// Facts about `tokenizer encode` and `decode`.
#include "dlcm/tokenizer/jsonl.h"
#include "dlcm/util/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace dlcm {
namespace {

std::string encoded(const std::string& lines) {
  std::istringstream input(lines);
  std::ostringstream output;
  encode_jsonl(*load_tokenizer("bytes"), input, output);
  return output.str();
}

std::string decoded(const std::string& lines) {
  std::istringstream input(lines);
  std::ostringstream output;
  decode_jsonl(*load_tokenizer("bytes"), input, output);
  return output.str();
}

template <typename Convert>
std::string refusal(Convert convert, const std::string& lines) {
  try {
    convert(lines);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(TokenizerJsonl, ConvertsLineByLineBothWays) {
  EXPECT_EQ(encoded("\"ab\"\n\"\"\n\"\\u00e4\\u0000\"\n"), "[97,98]\n[]\n[195,164,0]\n");
  EXPECT_EQ(decoded("[97,98]\n[]\n[195,164,0]"), "\"ab\"\n\"\"\n\"\xC3\xA4\\u0000\"\n");
  EXPECT_EQ(decoded("[257,97,256]"), "\"a\"\n");
}

TEST(TokenizerJsonl, WritesTheReplacementCharacterForInvalidUtf8) {
  EXPECT_EQ(decoded("[97,255]"), "\"a\xEF\xBF\xBD\"\n");
}

TEST(TokenizerJsonl, NamesTheBadLine) {
  for (const std::string bad : {"", "x", "[1]", "1", "null", "\"\xFF\""}) {
    EXPECT_THAT(refusal(encoded, "\"a\"\n" + bad + "\n\"b\"\n"), ::testing::HasSubstr("line 2 of")) << bad;
  }
  for (const std::string bad : {"", "\"a\"", "[258]", "[-1]", "[1.5]", "[[1]]", "[18446744073709551615]",
                                "[-9223372036854775808]", "[99999999999999999999]", "{\"a\": 1}", "[\"a\"]"}) {
    EXPECT_THAT(refusal(decoded, "[97]\n" + bad + "\n"), ::testing::HasSubstr("line 2 of")) << bad;
  }
}

}  // namespace
}  // namespace dlcm
