// tokenizer.json files: no bytes may crash the reader, and what it takes encodes any text to ids of its vocabulary,
// again and again the same. The bytes are read as a file, and as changes (a JSON merge patch) to a small file that is
// right, so that a few bytes reach every part of it.
#include "dlcm/tokenizer/byte_alphabet.h"
#include "dlcm/tokenizer/hugging_face_tokenizer.h"
#include "tests/fuzz/harness.h"

#include <nlohmann/json.hpp>

#include <string>

namespace dlcm {
namespace {

using nlohmann::json;

const json& right_file() {
  static const json file = [] {
    json vocabulary = json::object();
    for (int byte = 0; byte < 256; ++byte) vocabulary[letter_of_byte(static_cast<unsigned char>(byte))] = byte;
    vocabulary["th"] = 256;
    vocabulary["the"] = 257;
    const json byte_level{
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    return json{{"version", "1.0"},
                {"truncation", nullptr},
                {"padding", nullptr},
                {"added_tokens",
                 {{{"id", 258},
                   {"content", "<|endoftext|>"},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", true}}}},
                {"normalizer", {{"type", "NFC"}}},
                {"pre_tokenizer", byte_level},
                {"post_processor", byte_level},
                {"decoder", byte_level},
                {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {{"t", "h"}, {"th", "e"}}}}}};
  }();
  return file;
}

void use(const std::string& file) {
  const auto tokenizer = make_hugging_face_tokenizer(file, "fuzz");
  const std::string some = "the 'S tHe\n\n  12\xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81 <|endoftext|> \xFF_x,";
  for (const auto& text : {some, file.substr(0, 300)}) {
    const auto ids = tokenizer->encode_with_specials(text);
    for (const auto id : ids) fuzz::expect(id >= 0 && id < tokenizer->vocabulary());
    fuzz::expect(tokenizer->encode_with_specials(text) == ids);
    tokenizer->decode_with_specials(tokenizer->add_specials(ids));
    tokenizer->encode(text);
  }
}

}  // namespace

DLCM_FUZZ_HARNESS(tokenizer_json) {
  const auto patch = json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!patch.is_object()) return use(std::string(bytes));
  try {
    use(std::string(bytes));
  } catch (const Error&) {
  }
  auto changed = right_file();
  changed.merge_patch(patch);
  use(changed.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace dlcm
