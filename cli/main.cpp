// The binary: parses the verb, runs it, turns errors into one sentence and an exit status.
#include "cli/verbs.h"

#include "dlcm/util/error.h"

#include <CLI/CLI.hpp>

#include <malloc.h>

#include <cstdio>
#include <exception>
#include <limits>

namespace {

// Every step of a training, every request frees and asks again for the same tensors. Given back to the system each time,
// their pages would be cleared again each time: a tenth of a step of configs/small.toml.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);  // what one thread frees another may take
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
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
