// The binary: parses the verb, runs it, turns errors into one sentence and an exit status.
#include "cli/verbs.h"

#include "dlcm/util/error.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

// oneDNN keeps the kernels of the products it has seen, by default 1,024 of them, each with its scratch memory. The number of
// concepts differs from step to step and makes new ones all the time, some 15 MB a step with AMX, up to 19 GB. The products of
// one step fit in this many. A setting of the user's stays.
void bound_product_kernels() { ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", /*overwrite=*/0); }

}  // namespace

int main(int argc, char** argv) {
  bound_product_kernels();
  CLI::App app("dlcm trains, evaluates, analyses and serves Dynamic Large Concept Models (arXiv 2512.24617)", "dlcm");
  app.require_subcommand(1);
  int status = 0;
  for (const auto add_verb : dlcm::cli::kVerbs) add_verb(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const dlcm::Error& error) {
    fmt::print(stderr, "dlcm: {}\n", error.what());
    return error.exit_status();
  } catch (const std::exception& error) {
    fmt::print(stderr, "dlcm: unexpected failure, please report it: {}\n", error.what());
    return 1;
  }
  return status;
}
