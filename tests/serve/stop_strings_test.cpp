// Texts that end at stop strings, however they are cut into tokens.
#include "dlcm/serve/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

struct Shown {
  std::string text;
  bool stopped = false;
};

Shown shown(const std::vector<std::string>& stops, const std::vector<std::string>& tokens) {
  StopStrings matcher(stops);
  Shown shown;
  for (const auto& token : tokens) {
    shown.text += matcher.push(token);
    if (matcher.stopped()) break;
  }
  shown.text += matcher.finish();
  shown.stopped = matcher.stopped();
  return shown;
}

TEST(StopStrings, EndTheTextBeforeThem) {
  EXPECT_EQ(shown({"END"}, {"a b END c"}).text, "a b ");
  EXPECT_TRUE(shown({"END"}, {"a b END c"}).stopped);
  EXPECT_EQ(shown({"END"}, {"a b EN c"}).text, "a b EN c");
  EXPECT_FALSE(shown({}, {"a"}).stopped);
}

TEST(StopStrings, AreFoundAcrossTokens) {
  EXPECT_EQ(shown({"END"}, {"a E", "N", "D c"}).text, "a ");
  EXPECT_EQ(shown({"aab"}, {"a", "a", "a", "b"}).text, "a");
  EXPECT_EQ(shown({"\n\n"}, {"a\n", "b\n", "\nc"}).text, "a\nb");
}

TEST(StopStrings, ShowAtOnceWhatCannotBecomeOne) {
  StopStrings matcher({"xyz"});
  EXPECT_EQ(matcher.push("abx"), "ab");
  EXPECT_EQ(matcher.push("y"), "");
  EXPECT_EQ(matcher.push("a"), "xya");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopStrings, TheFirstInTheTextWins) {
  EXPECT_EQ(shown({"cd", "bc"}, {"abcd"}).text, "a");
  EXPECT_EQ(shown({"abcd", "b"}, {"abcd"}).text, "");
}

TEST(StopStrings, NothingComesBehindThem) {
  StopStrings matcher({"x"});
  EXPECT_EQ(matcher.push("ax"), "a");
  EXPECT_EQ(matcher.push("b"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopStrings, AgreeWithALookAtTheWholeText) {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    const auto word = [&](size_t least, size_t most) {
      std::string text;
      for (auto length = least + random() % (most - least + 1); length > 0; --length) {
        text += static_cast<char>('a' + random() % 2);
      }
      return text;
    };
    std::vector<std::string> stops, tokens;
    for (auto count = random() % 4; count > 0; --count) stops.push_back(word(1, 5));
    for (auto count = random() % 10; count > 0; --count) tokens.push_back(word(0, 3));
    // The reference: token by token, the first match in what there is.
    std::string text;
    bool stopped = false;
    for (const auto& token : tokens) {
      text += token;
      size_t place = std::string::npos;
      for (const auto& stop : stops) place = std::min(place, text.find(stop));
      if (place != std::string::npos) {
        text.resize(place);
        stopped = true;
        break;
      }
    }
    const auto found = shown(stops, tokens);
    ASSERT_EQ(found.text, text);
    ASSERT_EQ(found.stopped, stopped);
  }
}

}  // namespace
}  // namespace dlcm
