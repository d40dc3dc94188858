// dlcm tokenizer train | encode | decode.
#include "dlcm/tokenizer/tokenizer.h"
#include "cli/verbs.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/jsonl.h"
#include "dlcm/tokenizer/train.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>
#include <memory>

namespace dlcm::cli {
namespace {

struct TokenizerOptions {
  TokenizerTraining training;
  std::string output;
  std::string source;
  bool jsonl = false;
  bool add_specials = false;
};

void add_train(CLI::App& tokenizer, const std::shared_ptr<TokenizerOptions>& options) {
  auto* train = tokenizer.add_subcommand("train", "Train a byte-exact SentencePiece BPE tokenizer");
  train->add_option("--input", options->training.inputs, "Text files, .jsonl files (field \"text\") or folders of them")
      ->required();
  train->add_option("--vocab-size", options->training.vocabulary, "Number of ids, at least 261")->required();
  train->add_option("--output", options->output, "The model file to write")->required();
  train->callback([options] {
    write_file_synced(options->output, train_tokenizer(options->training));
    fmt::print(stderr, "trained a tokenizer of {} ids: {}\n", options->training.vocabulary, options->output);
  });
}

CLI::App* add_conversion(CLI::App& tokenizer, const std::string& name, const std::string& description,
                         const std::shared_ptr<TokenizerOptions>& options) {
  auto* verb = tokenizer.add_subcommand(name, description);
  verb->add_option("--tokenizer", options->source, "A SentencePiece model, a Hugging Face tokenizer.json, or bytes")
      ->required();
  verb->add_flag("--jsonl", options->jsonl, "One JSON value a line, in and out")->required();
  return verb;
}

void add_encode(CLI::App& tokenizer, const std::shared_ptr<TokenizerOptions>& options) {
  auto* verb = add_conversion(tokenizer, "encode",
                              "Standard input: JSON strings, one a line. Standard output: their ids as arrays. In a "
                              "tokenizer.json, the text of a special token becomes that token",
                              options);
  verb->add_flag("--add-special-tokens", options->add_specials,
                 "Put the special tokens around each text that the model expects, such as the one that begins a text");
  verb->callback([options] {
    std::ios::sync_with_stdio(false);
    encode_jsonl(*load_tokenizer(options->source), std::cin, std::cout, options->add_specials);
  });
}

void add_decode(CLI::App& tokenizer, const std::shared_ptr<TokenizerOptions>& options) {
  auto* verb = add_conversion(tokenizer, "decode",
                              "Standard input: JSON arrays of ids, one a line. Standard output: their text as JSON "
                              "strings; special tokens give their text with a tokenizer.json, nothing with the others; "
                              "bytes that are not valid UTF-8 become U+FFFD, because JSON cannot hold them",
                              options);
  verb->callback([options] {
    std::ios::sync_with_stdio(false);
    decode_jsonl(*load_tokenizer(options->source), std::cin, std::cout);
  });
}

}  // namespace

void add_tokenizer(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<TokenizerOptions>();
  auto* tokenizer = app.add_subcommand("tokenizer", "Train a tokenizer; encode and decode text");
  tokenizer->require_subcommand(1);
  add_train(*tokenizer, options);
  add_encode(*tokenizer, options);
  add_decode(*tokenizer, options);
}

}  // namespace dlcm::cli
