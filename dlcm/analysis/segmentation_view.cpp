#include "dlcm/analysis/segmentation_view.h"

#include "dlcm/analysis/html.h"
#include "dlcm/infer/text_stream.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <array>

namespace dlcm {
namespace {

constexpr size_t kColours = 5;  // neighbours differ, and so do concepts two apart
// Backgrounds of the 256-colour palette that black text reads well on.
constexpr std::array<int, kColours> kTerminalColours{153, 223, 157, 225, 229};

// Concepts that have something to show, in order.
std::vector<ConceptText> visible_concepts(const ScoredDocument& document) {
  auto concepts = concepts_of(document);
  std::erase_if(concepts, [](const ConceptText& entry) { return entry.text.empty(); });
  return concepts;
}

}  // namespace

std::vector<ConceptText> concepts_of(const ScoredDocument& document) {
  if (document.boundary.empty()) throw Error("the model has no concepts: give a model of kind dlcm");
  std::vector<ConceptText> concepts;
  std::string bytes;
  std::vector<size_t> concept_of_byte;
  for (size_t token = 0; token < document.ids.size(); ++token) {
    if (document.boundary[token]) concepts.push_back({.text = {}, .boundary_prob = document.boundary_prob[token]});
    ++concepts.back().tokens;
    bytes += document.pieces[token];
    concept_of_byte.resize(bytes.size(), concepts.size() - 1);
  }
  for (size_t byte = 0; byte < bytes.size();) {
    const size_t length = utf8_length(std::string_view(bytes).substr(byte));
    concepts[concept_of_byte[byte]].text += length == 0 ? "\uFFFD" : bytes.substr(byte, length);
    byte += std::max<size_t>(length, 1);
  }
  return concepts;
}

std::string segmentation_plain(const ScoredDocument& document) {
  std::string text;
  for (const auto& entry : visible_concepts(document)) text += (text.empty() ? "" : "|") + entry.text;
  return text;
}

std::string segmentation_coloured(const ScoredDocument& document) {
  std::string text;
  size_t index = 0;
  for (const auto& entry : visible_concepts(document)) {
    const auto begin = fmt::format("\x1b[30;48;5;{}m", kTerminalColours[index++ % kColours]);
    constexpr std::string_view kEnd = "\x1b[0m";
    text += begin;
    for (const char character : entry.text) {
      if (character == '\n') {  // the colour must not run on to the window's edge
        text.append(kEnd).append("\n").append(begin);
      } else {
        text += character;
      }
    }
    text += kEnd;
  }
  return text;
}

std::string segmentation_summary(const std::vector<ScoredDocument>& documents) {
  int64_t tokens = 0, concepts = 0;
  for (const auto& document : documents) {
    tokens += document.tokens();
    concepts += document.concepts();
  }
  return fmt::format("{} tokens in {} concepts: {:.2f} tokens per concept at threshold {:.3f}", tokens, concepts,
                     static_cast<double>(tokens) / static_cast<double>(std::max<int64_t>(1, concepts)),
                     documents.empty() ? 0.0 : documents.front().threshold);
}

std::string segmentation_html(const ScoredDocument& document) {
  std::string html = "<p class=\"segmentation\">";
  size_t index = 0;
  for (const auto& entry : visible_concepts(document)) {
    html += fmt::format("<span class=\"concept-{}\" title=\"p {:.3f}, {} token{}\">{}</span>", index++ % kColours,
                        entry.boundary_prob, entry.tokens, entry.tokens == 1 ? "" : "s", escape_html(entry.text));
  }
  return html + "</p>\n";
}

std::string_view segmentation_style() {
  return R"(.segmentation { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; }
.segmentation span { padding: .15em 0; border-radius: .2em; box-decoration-break: clone; -webkit-box-decoration-break: clone;
  background: hsl(var(--hue) 85% 55% / .3); box-shadow: inset .12em 0 hsl(var(--hue) 70% 50%); }
.segmentation span:hover { background: hsl(var(--hue) 85% 55% / .55); }
.concept-0 { --hue: 210; } .concept-1 { --hue: 30; } .concept-2 { --hue: 140; } .concept-3 { --hue: 300; }
.concept-4 { --hue: 55; }
)";
}

std::string segmentation_page(const std::vector<ScoredDocument>& documents, const std::string& title) {
  std::string body;
  for (const auto& document : documents) body += segmentation_html(document);
  return fmt::format(
      R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{0}</title>
<style>
body {{ margin: 0 auto; padding: 1rem; max-width: 48rem; font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }}
h1 {{ font-size: 1.2rem; overflow-wrap: anywhere; }}
.segmentation + .segmentation {{ border-top: 1px solid; padding-top: 1rem; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e8e8e8; background: #161616; }} }}
{1}</style>
</head>
<body>
<h1>{0}</h1>
<p>{2}. Each colour is a concept; hold the pointer over one to see the score p of the token that opened it.</p>
{3}</body>
</html>
)",
      escape_html(title), segmentation_style(), segmentation_summary(documents), body);
}

}  // namespace dlcm
