// Facts about reading the text out of one JSON line.
#include "dlcm/tokenizer/json_record.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string fault_of(std::string_view line, const JsonFields& fields = {}) {
  const auto record = read_json_record(line, fields);
  EXPECT_TRUE(record.fault.empty() || record.text.empty());
  return record.fault;
}

TEST(JsonRecord, FindsTheFieldOfTheOutermostObjectOnly) {
  EXPECT_EQ(read_json_record(R"({"text": "a"})", {}).text, "a");
  EXPECT_EQ(read_json_record(R"( {"meta": {"text": "no"}, "text": "yes", "more": ["text", {"text": 1}]} )", {}).text,
            "yes");
  EXPECT_EQ(read_json_record(R"({"text": {"text": "inner"}, "text": "outer"})", {}).text, "outer");
  EXPECT_EQ(read_json_record(R"({"text": "first", "text": "last"})", {}).text, "last");
  EXPECT_EQ(read_json_record(R"({"body": "b", "text": 3})", {.text = "body"}).text, "b");
  EXPECT_EQ(read_json_record(R"({"text": ""})", {}).fault, "");
  EXPECT_EQ(read_json_record(R"({"text": "\u00e4\n\ud83d\ude00\u0000."})", {}).text,
            std::string("\xC3\xA4\n\xF0\x9F\x98\x80\0.", 9));
}

TEST(JsonRecord, ReadsALabelBesideTheText) {
  const JsonFields fields{.text = "text", .domain = "source"};
  const auto record = read_json_record(R"({"source": "web", "text": "a"})", fields);
  EXPECT_EQ(record.text, "a");
  EXPECT_EQ(record.domain, "web");
  EXPECT_EQ(read_json_record(R"({"text": "a", "source": "web"})", {}).domain, "");
  EXPECT_EQ(read_json_record(R"({"text": "both"})", {.text = "text", .domain = "text"}).domain, "both");
}

TEST(JsonRecord, SaysWhatIsWrong) {
  EXPECT_EQ(fault_of(R"({"body": "a"})"), "no field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": 3})"), "a number in the field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": null})"), "null in the field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": ["a"]})"), "an array in the field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": {"text": "a"}})"), "an object in the field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": "a", "text": true})"), "a boolean in the field \"text\"");
  EXPECT_EQ(fault_of(R"({"text": "a", "source": 7})", {.domain = "source"}), "a number in the field \"source\"");
  EXPECT_EQ(fault_of(R"({"text": "a"})", {.domain = "source"}), "no field \"source\"");
  EXPECT_EQ(fault_of(R"(["text"])"), "an array instead of an object");
  EXPECT_EQ(fault_of(R"("text")"), "a string instead of an object");
  EXPECT_EQ(fault_of("7"), "a number instead of an object");
  for (const char* const broken :
       {R"({"text": "a")", R"({"text": "a"} x)", R"({"text": "a)", R"({text: "a"})", "{", "", "{\"text\": \"\xFF\"}",
        R"({"text": "\ud800"})", R"({"text": "a", "n": NaN})", "{\"text\": \"a\tb\"}", "\xFF\xFE{"}) {
    const auto record = read_json_record(broken, {});
    EXPECT_FALSE(record.is_json) << broken;
    EXPECT_THAT(record.fault, HasSubstr("no valid JSON"));
  }
}

TEST(JsonRecord, CostsNoStackForDepth) {
  const std::string deep(2000000, '[');
  EXPECT_THAT(fault_of("{\"a\": " + deep), HasSubstr("no valid JSON"));
  EXPECT_EQ(read_json_record("{\"a\": " + deep + std::string(deep.size(), ']') + ", \"text\": \"x\"}", {}).text, "x");
}

// A JSON value of a few levels.
json random_value(std::mt19937& random, int depth) {
  switch (random() % (depth > 0 ? 8 : 6)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random()) - (1 << 30);
    case 3:
      return static_cast<double>(random()) / 7.0;
    case 4:
    case 5: {
      std::string text = testing::made_up_text(1, random() % 50).substr(0, random() % 30);
      while (!text.empty() && (text.back() & 0x80) != 0) text.pop_back();
      return text;
    }
    case 6: {
      json array = json::array();
      for (unsigned count = random() % 4; count > 0; --count) array.push_back(random_value(random, depth - 1));
      return array;
    }
    default: {
      json object = json::object();
      const std::array<const char*, 4> keys{"text", "source", "meta", ""};
      for (unsigned count = random() % 5; count > 0; --count) {
        object[keys[random() % keys.size()]] = random_value(random, depth - 1);
      }
      return object;
    }
  }
}

TEST(JsonRecord, AgreesWithAWholeParseOnRandomAndMutatedLines) {
  std::mt19937 random(11);
  const JsonFields fields{.text = "text", .domain = "source"};
  int found = 0;
  for (int round = 0; round < 20000; ++round) {
    json object = json::object();
    for (const char* const key : {"text", "source", "meta"}) {
      if (random() % 5 != 0) object[key] = random() % 3 != 0 ? json("value") : random_value(random, 3);
    }
    std::string line = random() % 10 == 0 ? random_value(random, 2).dump() : object.dump();
    if (random() % 3 == 0 && !line.empty()) line[random() % line.size()] = static_cast<char>(random() % 256);
    const auto whole = json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool good = whole.is_object() && whole.contains("text") && whole["text"].is_string() &&
                      whole.contains("source") && whole["source"].is_string();
    const auto record = read_json_record(line, fields);
    ASSERT_EQ(record.fault.empty(), good) << line << ": " << record.fault;
    if (!good) continue;
    ++found;
    EXPECT_EQ(record.text, whole["text"].get<std::string>());
    EXPECT_EQ(record.domain, whole["source"].get<std::string>());
  }
  EXPECT_GT(found, 3000);
}

}  // namespace
}  // namespace dlcm
