// dlcm generate: continues a prompt.
#include "dlcm/infer/generate.h"
#include "cli/model_options.h"
#include "cli/verbs.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

namespace dlcm::cli {
namespace {

struct GenerateOptions : ModelOptions {
  std::string prompt;
  GenerateSettings settings;
  bool json = false;
};

void generate_text(GenerateOptions options) {
  check_settings(options.settings);  // before anything is printed
  Engine engine(load_engine_model(options.model));
  const auto& model = engine.model();
  options.settings.threshold = threshold_for(model, options.request);
  if (options.json) {
    fmt::print("{}\n", to_json(generate(engine, options.prompt, options.settings), model).dump());
    return;
  }
  const auto show = [](std::string_view text, const GeneratedToken*) {
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  show(options.prompt, nullptr);
  const auto generation = generate(engine, options.prompt, options.settings, show);
  fmt::print("\n");
  fmt::print(stderr, "{} tokens in {:.2f} s\n", generation.tokens.size(), generation.seconds);
}

}  // namespace

void add_generate(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<GenerateOptions>();
  auto& sampling = options->settings.sampling;
  auto* verb = app.add_subcommand("generate", "Continue a prompt, token by token");
  add_model_options(*verb, *options);
  verb->add_option("--prompt", options->prompt, "text to continue; \"\" begins a new document")->required();
  verb->add_option("--max-tokens", options->settings.max_tokens, "tokens to generate at most")->capture_default_str();
  verb->add_option("--temperature", sampling.temperature, "0 always takes the most likely token")
      ->capture_default_str();
  verb->add_option("--top-k", sampling.top_k, "draw from the K most likely tokens; 0 is all")->capture_default_str();
  verb->add_option("--top-p", sampling.top_p, "draw from the fewest tokens that together have probability P")
      ->capture_default_str();
  verb->add_option("--min-p", sampling.min_p, "draw from tokens at least P times as likely as the most likely one")
      ->capture_default_str();
  verb->add_option("--seed", sampling.seed, "of the draws")->capture_default_str();
  verb->add_flag(
      "--json", options->json,
      "one JSON object: text (without the prompt), tokens, ids, boundary and boundary_prob (one entry per "
      "generated token), finish_reason (stop: <|endoftext|> was drawn; length), prompt_tokens (with <|bos|>), "
      "completion_tokens, concepts (opened by the generated tokens), prompt_seconds, seconds, "
      "tokens_per_second (generated tokens by seconds, which leaves the prompt out)");
  verb->callback([options] { generate_text(*options); });
}

}  // namespace dlcm::cli
