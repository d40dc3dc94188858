// dlcm serve: an OpenAI-compatible HTTP server with a page, for one model.
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/serve/server.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace dlcm::cli {
namespace {

void serve(const ServerSettings& settings, int& status) {
  const auto listening = [&](uint16_t port) {
    const bool long_address = settings.host.find(':') != std::string::npos;
    fmt::print(stderr, "listening on http://{}{}{}:{}/, loading {}\n", long_address ? "[" : "", settings.host,
               long_address ? "]" : "", port, settings.model);
  };
  const auto ready = [](const ServedModel& served) {
    fmt::print(stderr, "serving {} (Ctrl-C stops)\n", served.name());
  };
  const int signal = serve_until_signal(settings, listening, ready);
  status = 128 + signal;
}

}  // namespace

void add_serve(CLI::App& app, int& status) {
  const auto settings = std::make_shared<ServerSettings>();
  auto* verb = app.add_subcommand("serve",
                                  "Serve a model over HTTP: OpenAI's completions and chat completions, tokenising, "
                                  "concepts of a text, metrics, and\n"
                                  "a page to try it in a browser. SIGINT and SIGTERM finish what is under way; the "
                                  "exit status is then 130 or 143.");
  verb->add_option("--model", settings->model,
                   "run directory (its newest complete checkpoint), checkpoint or exported file")
      ->required();
  verb->add_option("--host", settings->host, "address to listen on; 0.0.0.0 is all, also from other machines")
      ->capture_default_str();
  verb->add_option("--port", settings->port, "port; 0 takes a free one")->capture_default_str();
  verb->add_option("--api-key", settings->api.api_key,
                   "key that requests must bring; in DLCM_API_KEY no other user sees it")
      ->envname("DLCM_API_KEY");
  verb->add_option("--threads", settings->engine.threads, "threads that compute; 0 takes all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add_cache_option(*verb, settings->engine.cache);
  verb->add_option("--context", settings->requests.tokens, "tokens that a prompt and its continuation may have")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--sequences", settings->scheduler.sequences, "texts that are continued side by side")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option(
          "--cached-tokens", settings->scheduler.cached_tokens,
          "tokens whose keys and values the texts at work may hold, and as many for beginnings that come again")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--queue", settings->scheduler.waiting, "prompts that may wait; beyond them 503")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--request-seconds", settings->api.request_seconds, "time that a completion may take")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--drain-seconds", settings->drain_seconds, "time to finish what is under way at the end")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->callback([settings, &status] { serve(*settings, status); });
}

}  // namespace dlcm::cli
