// Tables and chart pages: what CSV, HTML and text make of hostile cells.
#include "dlcm/analysis/table.h"

#include "dlcm/analysis/chart_page.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dlcm::test {
namespace {

TEST(Table, CsvQuotesWhatItMust) {
  Table table({"a", "b,c"});
  table.add({"plain", "with \"quotes\""});
  table.add({"two\nlines", "1,5"}, {"shown", "1.5"});
  EXPECT_EQ(table.csv(), "a,\"b,c\"\nplain,\"with \"\"quotes\"\"\"\n\"two\nlines\",\"1,5\"\n");
}

TEST(Table, HtmlEscapesAndTextAligns) {
  Table table({"name", "value"}, {"Name", "Wert"});
  table.add({"<x>", "1"});
  table.add({"世界", "12345"});
  const auto html = table.html("a \"label\"");
  EXPECT_TRUE(has(html, "&lt;x&gt;"));
  EXPECT_TRUE(has(html, "a &quot;label&quot;"));
  EXPECT_FALSE(has(html, "<x>"));
  EXPECT_EQ(table.text(), "Name   Wert\n<x>       1\n世界    12345\n");
  EXPECT_EQ(table.rows(), 2U);
}

TEST(Table, NumbersReadBackAndNoNumberIsEmpty) {
  EXPECT_EQ(csv_number(0.5), "0.5");
  EXPECT_NEAR(std::stod(csv_number(1.0 / 3.0)), 1.0 / 3.0, 1e-9);
  EXPECT_EQ(csv_number(std::nan("")), "");
}

TEST(ChartPage, HoldsEveryNumberAndNoMarkupOfTheTexts) {
  Chart lines{
      .title = "A <title>",
      .x = "x",
      .y = "y",
      .series = {{.name = "</script>", .points = {{1, 2}, {3, std::nan("")}}, .intervals = {{1.5, 2.5}, {0, 1}}}}};
  Chart bars{.title = "bars", .categories = {"a", "b"}, .series = {{.name = "s", .points = {{0, 1}}}}};
  const auto page =
      chart_page({.kind = "dlcm test",
                  .title = "T & U",
                  .verdicts = {"One < two.", "Second."},
                  .sections = {{.title = "First", .html = "<p>own</p>", .charts = {lines, bars}}, {.title = "Empty"}}});
  EXPECT_TRUE(has(page, "<title>T &amp; U</title>"));
  EXPECT_TRUE(has(page, "One &lt; two."));
  EXPECT_TRUE(has(page, "<p>own</p>"));
  EXPECT_TRUE(has(page, "A &lt;title&gt;"));
  EXPECT_TRUE(has(page, "[[1.0,2.0],[3.0,null]]"));
  EXPECT_TRUE(has(page, "[[1.5,2.5],[0.0,1.0]]"));
  EXPECT_TRUE(has(page, "\"categories\":[\"a\",\"b\"]"));
  EXPECT_TRUE(has(page, "href=\"#section-1\""));
  EXPECT_FALSE(has(page, "\"</script>\""));
  EXPECT_FALSE(has(page, "{{"));
}

}  // namespace
}  // namespace dlcm::test
