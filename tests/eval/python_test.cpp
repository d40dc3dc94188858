// What prompts and draws owe to Python; expected values are CPython 3.11's.
#include "dlcm/eval/python_random.h"
#include "dlcm/eval/python_text.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

using nlohmann::json;

TEST(PythonText, StripsTheWhiteSpaceOfUnicode) {
  const std::string space = "\t\n\x0B\f\r\x1C\x1D\x1E\x1F \u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000";
  EXPECT_EQ(python_strip(space + "a b" + space), "a b");
  EXPECT_EQ(python_strip(space), "");
  EXPECT_EQ(python_strip(""), "");
  EXPECT_EQ(python_trailing_space("答案：" + space), space);
  EXPECT_EQ(python_trailing_space("a"), "");
  // No white space to Python: zero-width space, word joiner, byte order mark, Mongolian vowel separator.
  for (const std::string kept : {"\u200B", "\u2060", "\uFEFF", "\u180E"}) EXPECT_EQ(python_strip(kept), kept);
}

TEST(PythonText, CapitalizesWithFullMappings) {
  for (const auto& [text, expected] :
       std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                        {"the girls", "The girls"},
                                                        {"WITH A finger.", "With a finger."},
                                                        {"ÉCOLIER ΟΔΟΣ İstanbul", "Écolier οδος i\u0307stanbul"},
                                                        {"\u01C6abc", "\u01C5abc"},
                                                        {"ßtrasse", "Sstrasse"},
                                                        {"\uFB01sh", "Fish"},
                                                        {"ΑΣ", "Ας"},
                                                        {"Σ", "Σ"},
                                                        {"ΣΑ'Σ x", "Σα'ς x"},
                                                        {"1ABC", "1abc"},
                                                        {"\u0149a", "\u02BCNa"},
                                                        {"\U00010428\U00010400", "\U00010400\U00010428"},
                                                        {"İI", "İi"},
                                                        {"\u1F88X", "\u1F88x"},
                                                        {"\u1FB3", "\u1FBC"}}) {
    EXPECT_EQ(python_capitalize(text), expected) << text;
  }
}

TEST(PythonText, ReplacesFromLeftToRightOnce) {
  EXPECT_EQ(python_replace("a    b", "  ", " "), "a  b");
  EXPECT_EQ(python_replace("a   b", "  ", " "), "a  b");
  EXPECT_EQ(python_replace(" [title] [title]", " [title]", ". "), ". . ");
  EXPECT_EQ(python_replace("", "x", "y"), "");
}

TEST(PythonText, LengthIsInCodePoints) {
  EXPECT_EQ(python_length(""), 0u);
  EXPECT_EQ(python_length("aé答\U0001F600"), 4u);
}

TEST(PythonLiteral, ReadsWhatReprWrites) {
  for (const auto& [text, expected] :
       std::vector<std::pair<std::string, json>>{{"[]", json::array()},
                                                 {" [ 'a' , \"b\", ] ", {"a", "b"}},
                                                 {"{'question': \"It's\", 'options': ['\"', '\\'', \"\"]}",
                                                  {{"question", "It's"}, {"options", {"\"", "'", ""}}}},
                                                 {"('a',)", {"a"}},
                                                 {"('a')", "a"},
                                                 {"()", json::array()},
                                                 {"'a' \"b\"\n'c'", "abc"},
                                                 {R"('\\ \' \" \n \t \x41 \u7b54 \U0001F600 \101 \0 \q')",
                                                  std::string("\\ ' \" \n \t A 答 \U0001F600 A ") + '\0' + " \\q"},
                                                 {"'''it's\n'x' '''", "it's\n'x' "},
                                                 {"'a\\\nb'", "ab"},
                                                 {"{}", json::object()},
                                                 {"[['答案'], []]", {{"答案"}, json::array()}}}) {
    EXPECT_EQ(python_literal(text, "here"), expected) << text;
  }
}

TEST(PythonLiteral, RefusesTheRest) {
  for (const std::string text :
       {"", "[", "['a'", "['a' 'b", "'a", "'a\nb'", "[1]", "None", "['a'] x", "{'a'}", "{'a' 'b'}", "{1: 'a'}",
        "['a';]", "'\\x4'", "'\\u12'", "'\\ud800'", "'\\N{DASH}'", "'\\U00110000'", "'\\"}) {
    const auto message = test::message_of<Error>([&] { python_literal(text, "line 3 of race.jsonl"); });
    EXPECT_NE(message.find("line 3 of race.jsonl"), std::string::npos) << text << ": " << message;
  }
  const std::string deep = std::string(100000, '[');
  EXPECT_THROW(python_literal(deep, "here"), Error);
}

TEST(PythonRandom, DrawsWhatPythonDraws) {
  PythonRandom random(1234);
  for (const auto& [population, drawn] : std::vector<std::pair<size_t, std::vector<size_t>>>{
           {200, {199, 112, 29}},
           {10, {0, 1, 9}},
           {5, {0, 4, 1, 3, 2}},
           {21, {0, 20, 11, 15, 14}},
           {22, {4, 2, 5, 3, 0}},
           {1000, {515, 498, 901, 988, 255, 66, 683, 554, 934, 477, 70, 615}},
           {85, {11, 65, 74, 5, 34, 71}},
           {86, {8, 82, 38, 61, 45, 34}},
           {4, {1, 2}},
           {1, {0}},
           {3000000000, {1947286704, 2277025048, 2857920849}}}) {
    EXPECT_EQ(random.sample(population, drawn.size()), drawn) << population;
  }
  EXPECT_EQ(PythonRandom(0).sample(100, 4), (std::vector<size_t>{49, 97, 53, 5}));
  EXPECT_EQ(PythonRandom(4294967295).sample(100, 4), (std::vector<size_t>{81, 79, 26, 27}));
}

}  // namespace
}  // namespace dlcm
