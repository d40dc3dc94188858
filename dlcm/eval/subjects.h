// The subjects of MMLU, C-Eval and CMMLU: the categories and the Chinese names that lm-evaluation-harness gives them.
#pragma once

#include <string_view>

namespace dlcm {

// "stem", "humanities", "social_sciences" or "other"; empty for a subject that MMLU does not have.
std::string_view mmlu_category(std::string_view subject);

// The name that stands in the prompt; empty for a subject that the benchmark does not have.
std::string_view ceval_subject_name(std::string_view subject);
std::string_view cmmlu_subject_name(std::string_view subject);

}  // namespace dlcm
