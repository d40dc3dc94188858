// Facts about the automaton: it matches what Oniguruma matches, and it never looks back.
#include "dlcm/tokenizer/oniguruma.h"
#include "dlcm/tokenizer/regex_automaton.h"
#include "dlcm/tokenizer/regex_syntax.h"
#include "dlcm/tokenizer/text_pattern.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

// Those of the families that dlcm reads, and what else they might use.
const std::vector<std::string> kPatterns{
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"(\p{N}{1,3})",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;=?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    R"(a|ab|abc)",
    R"((?:a|ab)(?:c|bcd)?)",
    R"(a*?b|a+?)",
    R"(\d{2}|\d{3,}x|.)",
    R"(x*)",
    R"(|a)",
    R"((a|b)*c|a(?=b)|b(?!c))",
    R"([\P{L}]|\p{^L}|\S\s|[\D])",
    R"([a-c-]+|[\]x]|[^^]{3})",
    "(?i:gulden|kelvin)",
    R"(\t|\e|\a|\f|\.|\(|\\)",
};

RegexAutomaton automaton_of(const std::string& pattern) {
  const auto node = parse_regex(pattern);
  EXPECT_TRUE(node.has_value()) << pattern;
  auto automaton = RegexAutomaton::make(*node);
  EXPECT_TRUE(automaton.has_value()) << pattern;
  return *std::move(automaton);
}

std::vector<std::string> matches(const TextPattern& pattern, const std::string& text) {
  std::vector<std::string> found;
  pattern.split(text, [&](size_t begin, size_t end, bool is_match) {
    found.push_back((is_match ? "+" : "-") + text.substr(begin, end - begin));
  });
  return found;
}

// Oniguruma's match at exactly `begin`.
size_t anchored_match(const OnigurumaRegex& regex, std::string_view text, size_t begin) {
  const auto match = regex.search(text, begin);
  return match && match->begin == begin ? match->end : RegexAutomaton::kNoMatch;
}

std::string random_text(std::mt19937& random, const CodePoints& left_out) {
  static const std::vector<std::string> parts{
      "a",          "b",      "c",      "ab", "x",      " ",      "  ",    "\n",     "\r\n",   "\t",
      "'s",         "'LL",    "'re",    "S",  "\u017F", "1",      "23",    "\u0661", "\u00E9", "e\u0301",
      "\u4E2D",     "\u6587", "\u3042", ".",  "-",      "]",      "^",     "\u3000", "\u0085", "\u2028",
      "\U0001F600", "\u212A", "$",      "_",  "\\",     "GULDEN", "kelvin"};
  std::string text;
  for (unsigned count = random() % 14; count > 0; --count) {
    if (random() % 4 != 0) {
      text += parts[random() % parts.size()];
      continue;
    }
    const char32_t code = random() % (random() % 2 == 0 ? 0x3000 : 0x110000);
    if ((code < 0xD800 || code >= 0xE000) && !left_out.contains(code)) utf8_append(text, code);
  }
  return text;
}

TEST(RegexAutomaton, MatchesWhatOnigurumaMatchesEverywhere) {
  std::mt19937 random(1);
  const auto later = assigned_since_unicode_14();
  for (const auto& pattern : kPatterns) {
    const auto automaton = automaton_of(pattern);
    const OnigurumaRegex regex(pattern, "a test");
    for (int round = 0; round < 2000; ++round) {
      const auto text = random_text(random, later);
      for (size_t begin = 0; begin <= text.size();
           begin += std::max<size_t>(1, utf8_length(std::string_view(text).substr(begin)))) {
        ASSERT_EQ(automaton.match(text, begin), anchored_match(regex, text, begin))
            << pattern << " at " << begin << " of " << text;
      }
    }
  }
}

// Random patterns of a few letters; those that the parser leaves to Oniguruma are not counted.
std::string random_pattern(std::mt19937& random, int depth) {
  static const std::vector<std::string> atoms{"a", "b", "c", "[ab]", "[^a]", ".", "\\s", "\\p{L}", " ", "\\n"};
  static const std::vector<std::string> counts{"", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?", "??"};
  switch (depth == 0 ? 0 : random() % 6) {
    case 0:
    case 1:
      return atoms[random() % atoms.size()] + counts[random() % counts.size()];
    case 2:
    case 3:
      return random_pattern(random, depth - 1) + random_pattern(random, depth - 1);
    case 4:
      return "(?:" + random_pattern(random, depth - 1) + "|" + random_pattern(random, depth - 1) + ")" +
             counts[random() % counts.size()];
    default:
      return random_pattern(random, depth - 1) + (random() % 2 == 0 ? "(?!" : "(?=") + atoms[random() % atoms.size()] +
             ")";
  }
}

TEST(RegexAutomaton, MatchesRandomPatternsAsOnigurumaDoes) {
  std::mt19937 random(2);
  int compared = 0;
  for (int round = 0; round < 4000; ++round) {
    const auto pattern = random_pattern(random, 4);
    const auto node = parse_regex(pattern);
    if (!node) continue;
    const auto automaton = RegexAutomaton::make(*node);
    if (!automaton) continue;
    const OnigurumaRegex regex(pattern, "a test");
    ++compared;
    for (int trial = 0; trial < 20; ++trial) {
      std::string text;
      for (unsigned count = random() % 12; count > 0; --count) text += "abc \n"[random() % 5];
      for (size_t begin = 0; begin <= text.size(); ++begin) {
        ASSERT_EQ(automaton->match(text, begin), anchored_match(regex, text, begin))
            << pattern << " at " << begin << " of " << text;
      }
    }
  }
  EXPECT_GT(compared, 2000);
}

TEST(RegexAutomaton, KnowsEveryCodePointAsOnigurumaDoes) {
  const auto later = assigned_since_unicode_14();
  for (const std::string atom :
       {"\\p{L}",  "\\p{Lu}", "\\p{Ll}", "\\p{Lt}", "\\p{Lm}", "\\p{Lo}", "\\p{M}",  "\\p{N}",
        "\\p{Nd}", "\\p{Nl}", "\\p{No}", "\\p{P}",  "\\p{Pc}", "\\p{Pd}", "\\p{Ps}", "\\p{Pe}",
        "\\p{Pi}", "\\p{Pf}", "\\p{Po}", "\\p{S}",  "\\p{Sm}", "\\p{Sc}", "\\p{Sk}", "\\p{So}",
        "\\p{Z}",  "\\p{Zs}", "\\s",     "\\d",     "\\S",     "\\D",     "\\P{L}",  "[^\\s\\p{L}]",
        ".",       "(?i:s)",  "(?i:k)",  "(?i:t)",  "(?i:')",  "(?i:d)",  "(?i:m)"}) {
    const auto automaton = automaton_of(atom);
    const OnigurumaRegex regex(atom, "a test");
    for (char32_t code = 0; code <= kLastCodePoint; code += code < 0x20000 ? 1 : 89) {
      if ((code >= 0xD800 && code < 0xE000) || later.contains(code)) continue;
      std::string text;
      utf8_append(text, code);
      ASSERT_EQ(automaton.match(text, 0), anchored_match(regex, text, 0))
          << atom << " of " << static_cast<uint32_t>(code);
    }
  }
}

TEST(RegexAutomaton, KnowsTheLettersOfUnicode16) {
  const auto letters = automaton_of("\\p{L}");
  for (const char32_t code : {0x31350u, 0x2EBF0u, 0x10D4Au, 0x1C89u}) {  // 15.0, 15.1, 16.0, 16.0
    std::string text;
    utf8_append(text, code);
    EXPECT_EQ(letters.match(text, 0), text.size());
  }
}

TEST(TextPattern, CutsAsTheSameWithOnigurumaAlone) {
  std::mt19937 random(3);
  const auto later = assigned_since_unicode_14();
  for (const auto& pattern : kPatterns) {
    const auto automaton = TextPattern::regex(pattern, "a test");
    // A group that Oniguruma alone takes, and that changes nothing.
    const auto oniguruma = TextPattern::regex("(?>)(?:" + pattern + ")", "a test");
    ASSERT_TRUE(automaton.is_automaton()) << pattern;
    ASSERT_FALSE(oniguruma.is_automaton()) << pattern;
    for (int round = 0; round < 500; ++round) {
      const auto text = random_text(random, later);
      ASSERT_EQ(matches(automaton, text), matches(oniguruma, text)) << pattern << " in " << text;
    }
  }
}

TEST(TextPattern, FindsEmptyMatchesButNotBehindAMatch) {
  EXPECT_THAT(matches(TextPattern::regex("x*", "a test"), "axxb"), ::testing::ElementsAre("+", "-a", "+xx", "-b", "+"));
  EXPECT_THAT(matches(TextPattern::literal(""), "ab"), ::testing::ElementsAre("+", "-a", "+", "-b", "+"));
  EXPECT_THAT(matches(TextPattern::literal("a.b"), "a.baxb"), ::testing::ElementsAre("+a.b", "-axb"));
}

TEST(RegexSyntax, LeavesToOnigurumaWhatItDoesNotKnow) {
  for (const std::string pattern :
       {"a++",     "a?+",     "a*+",      "(a)\\1",     "(?<=a)b",     "(?<!a)b",    "(?>a)",       "^a",
        "a$",      "\\ba",    "\\w",      "\\h",        "[[:alpha:]]", "[a[bc]]",    "[a&&b]",      "(?=ab)c",
        "(?m:a)",  "(?<n>a)", "\\p{Han}", "\\p{Mn}",    "\\x41",       "(?i:[a-z])", "(?i:\u00E9)", "(?i:ss)",
        "(?i:st)", "(a*)*",   "{2}",      "a{65}",      "a{,3}",       "a{2}{3}",    "a|*",         "]",
        "[]a]",    "\\",      "(",        "(?i:\\p{L})"}) {
    EXPECT_FALSE(parse_regex(pattern).has_value()) << pattern;
  }
}

TEST(RegexAutomaton, IsNotMadeWhereItWouldBeHuge) {
  EXPECT_FALSE(RegexAutomaton::make(*parse_regex("(?:(?:(?:a{64}){64}){64})")).has_value());
  EXPECT_FALSE(RegexAutomaton::make(*parse_regex("[ab]*a[ab]{20}")).has_value());
}

TEST(OnigurumaRegex, TellsWhatIsWrongWithAPattern) {
  try {
    TextPattern::regex("(a", "here");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("here"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("unmatched"));
  }
}

}  // namespace
}  // namespace dlcm
