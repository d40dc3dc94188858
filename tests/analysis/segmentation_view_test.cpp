#include "dlcm/analysis/segmentation_view.h"

#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

// A document of <|bos|> and these pieces, cut before those that begin with "|", which is no part of them.
ScoredDocument document_of(const std::vector<std::string>& marked_pieces) {
  ScoredDocument document;
  document.threshold = 0.5;
  document.ids = {0};
  document.pieces = {""};
  document.boundary = {true};
  document.boundary_prob = {1.0};
  for (const auto& piece : marked_pieces) {
    const bool opens = piece.rfind('|', 0) == 0;
    document.ids.push_back(1);
    document.pieces.push_back(opens ? piece.substr(1) : piece);
    document.boundary.push_back(opens);
    document.boundary_prob.push_back(opens ? 0.75 : 0.25);
  }
  return document;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

TEST(Segmentation, ConceptsHoldTheTextOfTheirTokens) {
  const auto concepts = concepts_of(document_of({"On", "ce ", "|upon", " a", "| time"}));
  ASSERT_EQ(concepts.size(), 3u);
  EXPECT_EQ(concepts[0].text, "Once ");
  EXPECT_EQ(concepts[0].tokens, 3);  // with <|bos|>
  EXPECT_EQ(concepts[0].boundary_prob, 1.0);
  EXPECT_EQ(concepts[1].text, "upon a");
  EXPECT_EQ(concepts[1].tokens, 2);
  EXPECT_EQ(concepts[1].boundary_prob, 0.75);
  EXPECT_EQ(concepts[2].text, " time");
}

TEST(Segmentation, CharacterBelongsToTheConceptOfItsFirstByte) {
  const auto document = document_of({"caf\xC3", "|\xA9", " \xE2", "|\x82", "|\xAC", "|!"});
  const auto concepts = concepts_of(document);
  ASSERT_EQ(concepts.size(), 5u);
  EXPECT_EQ(concepts[0].text, "caf\u00E9");
  EXPECT_EQ(concepts[1].text, " \u20AC");
  EXPECT_EQ(concepts[2].text, "");
  EXPECT_EQ(concepts[3].text, "");
  EXPECT_EQ(concepts[4].text, "!");
  EXPECT_EQ(segmentation_plain(document), "caf\u00E9| \u20AC|!");
}

TEST(Segmentation, BytesThatAreNoCharacterAreReplaced) {
  const auto document = document_of({"a\xFF", "|\xE2\x82", "b"});
  EXPECT_EQ(segmentation_plain(document),
            "a\uFFFD|\uFFFD\uFFFD"
            "b");
  EXPECT_TRUE(is_utf8(segmentation_html(document)));
  EXPECT_TRUE(is_utf8(segmentation_coloured(document)));
}

TEST(Segmentation, EmptyDocumentShowsNothing) {
  EXPECT_EQ(segmentation_plain(document_of({})), "");
  EXPECT_EQ(segmentation_plain(document_of({"|a"})), "a");
}

TEST(Segmentation, NeighboursHaveDifferentColours) {
  const auto text = segmentation_coloured(document_of({"a", "|b", "|c"}));
  EXPECT_EQ(text, "\x1b[30;48;5;153ma\x1b[0m\x1b[30;48;5;223mb\x1b[0m\x1b[30;48;5;157mc\x1b[0m");
}

TEST(Segmentation, ColourEndsWithTheLine) {
  EXPECT_EQ(segmentation_coloured(document_of({"a\nb"})), "\x1b[30;48;5;153ma\x1b[0m\n\x1b[30;48;5;153mb\x1b[0m");
}

TEST(Segmentation, HtmlEscapesTheText) {
  const auto html = segmentation_html(document_of({"<b>&\"", "|</span><script>"}));
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;"), std::string::npos) << html;
  EXPECT_EQ(html.find("<script>"), std::string::npos) << html;
  EXPECT_EQ(count_of(html, "<span "), 2u) << html;
}

TEST(Segmentation, HtmlTellsTheScoreOfEachConcept) {
  const auto html = segmentation_html(document_of({"one", "|two", "three"}));
  EXPECT_NE(html.find("title=\"p 0.750, 2 tokens\">twothree</span>"), std::string::npos) << html;
}

TEST(Segmentation, PageNeedsNothingElseAndFitsPhonesAndDarkScreens) {
  const auto page = segmentation_page({document_of({"a", "|b"}), document_of({"c"})}, "my <file>.txt");
  EXPECT_NE(page.find("<meta name=\"viewport\""), std::string::npos);
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(page.find("<title>my &lt;file&gt;.txt</title>"), std::string::npos);
  EXPECT_EQ(count_of(page, "class=\"segmentation\""), 2u);
  EXPECT_NE(page.find(segmentation_style()), std::string::npos);
  EXPECT_NE(page.find("5 tokens in 3 concepts: 1.67 tokens per concept at threshold 0.500"), std::string::npos);
  for (const auto* outside : {"http:", "https:", "src=", "href=", "@import", "url("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
}

TEST(Segmentation, DocumentWithoutConceptsIsAnError) {
  ScoredDocument document;
  document.ids = {0};
  document.pieces = {""};
  EXPECT_THROW(concepts_of(document), Error);
}

}  // namespace
}  // namespace dlcm
