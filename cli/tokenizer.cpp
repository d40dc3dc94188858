// dlcm tokenizer train | encode | decode.
#include "dlcm/tokenizer/tokenizer.h"
#include "cli/verbs.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/jsonl.h"
#include "dlcm/tokenizer/train.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

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

using Convert = void (*)(const Tokenizer&, std::istream&, std::ostream&);

void add_conversion(CLI::App& tokenizer, const std::string& name, const std::string& description, Convert convert,
                    const std::shared_ptr<TokenizerOptions>& options) {
  auto* verb = tokenizer.add_subcommand(name, description);
  verb->add_option("--tokenizer", options->source, "A SentencePiece model file, or bytes")->required();
  verb->add_flag("--jsonl", options->jsonl, "One JSON value a line, in and out")->required();
  verb->callback([options, convert] {
    std::ios::sync_with_stdio(false);
    convert(*load_tokenizer(options->source), std::cin, std::cout);
  });
}

}  // namespace

void add_tokenizer(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<TokenizerOptions>();
  auto* tokenizer = app.add_subcommand("tokenizer", "Train a tokenizer; encode and decode text");
  tokenizer->require_subcommand(1);
  add_train(*tokenizer, options);
  add_conversion(*tokenizer, "encode", "Standard input: JSON strings, one a line. Standard output: their ids as arrays",
                 encode_jsonl, options);
  add_conversion(*tokenizer, "decode",
                 "Standard input: JSON arrays of ids, one a line. Standard output: their text as JSON strings; special "
                 "tokens are left out, and bytes that are not valid UTF-8 become U+FFFD, because JSON cannot hold them",
                 decode_jsonl, options);
}

}  // namespace dlcm::cli
