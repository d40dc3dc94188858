// One function per verb: adds its subcommand with a callback that does the work. `status` is the exit status of a verb
// that ends without an error but not with 0 (a training stopped by a signal).
#pragma once

#include <array>

namespace CLI {
class App;
}

namespace dlcm::cli {

void add_tokenizer(CLI::App& app, int& status);
void add_data(CLI::App& app, int& status);
void add_info(CLI::App& app, int& status);
void add_train(CLI::App& app, int& status);
void add_eval(CLI::App& app, int& status);
void add_score(CLI::App& app, int& status);
void add_generate(CLI::App& app, int& status);
void add_segment(CLI::App& app, int& status);
void add_export(CLI::App& app, int& status);
void add_serve(CLI::App& app, int& status);
void add_report(CLI::App& app, int& status);
void add_analyze(CLI::App& app, int& status);
void add_sweep(CLI::App& app, int& status);
void add_coordinate_check(CLI::App& app, int& status);
void add_fit(CLI::App& app, int& status);
void add_plan(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);

inline constexpr std::array kVerbs{
    add_tokenizer, add_data,  add_info,   add_train,  add_eval,    add_score, add_generate,
    add_segment,   add_serve, add_export, add_report, add_analyze, add_sweep, add_coordinate_check,
    add_fit,       add_plan,  add_bench};

}  // namespace dlcm::cli
