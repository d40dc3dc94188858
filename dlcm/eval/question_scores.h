// What a model gives the choices of questions: the log-likelihood of each continuation behind its context.
#pragma once

#include "dlcm/eval/benchmark.h"
#include "dlcm/infer/continuations.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

struct QuestionScores {
  std::vector<ContinuationScore> choices;
  bool truncated = false;  // a prompt was longer than the model's context and lost its beginning

  // Places of the choice with the largest sum, and of the one with the largest sum per character; the first of equals.
  size_t best() const;
  size_t best_by_length(const Question& question) const;
};

// Tokens of `context` and of what `continuation` adds to them, split as lm-evaluation-harness does: white space at the
// context's end moves to the continuation, and the two are encoded together. Of more than `longest` + 1 ids the first
// are left out. Throws Error, naming `where`, for a continuation without tokens or with more than `longest`.
Continuation encode_continuation(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                                 size_t longest, const std::string& where);

// Scores of all choices of all questions, `beginnings` before each context. Questions of one subject are read together,
// so that the examples that they share are read once.
std::vector<QuestionScores> score_questions(Engine& engine, const std::vector<Question>& questions,
                                            const std::vector<std::string>& beginnings,
                                            const ContinuationOptions& options);

}  // namespace dlcm
