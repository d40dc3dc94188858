#include "dlcm/eval/question_scores.h"

#include "dlcm/eval/python_text.h"
#include "dlcm/infer/score.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <numeric>

namespace dlcm {
namespace {

// Questions are encoded and scored in parts of about this many tokens, which bounds memory.
constexpr size_t kPartTokens = size_t{1} << 21;

template <typename Value>
size_t first_largest(size_t count, const Value& value) {
  size_t best = 0;
  for (size_t i = 1; i < count; ++i) {
    if (value(i) > value(best)) best = i;
  }
  return best;
}

// Places of the questions, those of one subject side by side.
std::vector<size_t> order_by_subject(const std::vector<Question>& questions) {
  std::vector<size_t> order(questions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t left, size_t right) { return questions[left].subject < questions[right].subject; });
  return order;
}

}  // namespace

size_t QuestionScores::best() const {
  return first_largest(choices.size(), [&](size_t i) { return choices[i].logprob; });
}

size_t QuestionScores::best_by_length(const Question& question) const {
  return first_largest(choices.size(), [&](size_t i) {
    return choices[i].logprob / static_cast<double>(python_length(question.choices[i]));
  });
}

Continuation encode_continuation(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                                 size_t longest, const std::string& where) {
  const auto space = python_trailing_space(context);
  context.remove_suffix(space.size());
  auto whole = document_ids(tokenizer, fmt::format("{}{}{}", context, space, continuation));
  Continuation result{.ids = document_ids(tokenizer, context), .given = 0};
  result.given = result.ids.size();
  if (whole.size() <= result.given) {
    throw Error("expected a choice that adds a token to its context in {}, found \"{}\": correct or remove the line",
                where, continuation);
  }
  result.ids.insert(result.ids.end(), whole.begin() + static_cast<int64_t>(result.given), whole.end());
  const size_t scored = result.ids.size() - result.given;
  if (scored > longest) {
    throw Error(
        "expected choices of at most {} tokens, the model's context, in {}, found {}: use another model, or "
        "remove the line",
        longest, where, scored);
  }
  if (result.ids.size() > longest + 1) {
    result.ids.erase(result.ids.begin(), result.ids.end() - static_cast<int64_t>(longest + 1));
    result.given = result.ids.size() - scored;
  }
  return result;
}

std::vector<QuestionScores> score_questions(Engine& engine, const std::vector<Question>& questions,
                                            const std::vector<std::string>& beginnings,
                                            const ContinuationOptions& options) {
  const auto& model = engine.model();
  const auto longest = static_cast<size_t>(model.config.train.context);
  std::vector<QuestionScores> scores(questions.size());
  const auto order = order_by_subject(questions);
  size_t done = 0;
  for (auto next = order.begin(); next != order.end();) {
    std::vector<Continuation> part;
    std::vector<size_t> asked_by;
    for (size_t tokens = 0; next != order.end() && tokens < kPartTokens; ++next) {
      const auto& question = questions[*next];
      for (size_t choice = 0; choice < question.choices.size(); ++choice) {
        part.push_back(encode_continuation(*model.tokenizer, beginnings[*next] + question.context(choice),
                                           question.continuation(choice), longest, question.where));
        asked_by.push_back(*next);
        tokens += part.back().ids.size();
        scores[*next].truncated |= part.back().ids.front() != model.tokenizer->begin_of_text();
      }
    }
    auto part_options = options;
    if (options.progress) {
      part_options.progress = [&](size_t done_of_part) { options.progress(done + done_of_part); };
    }
    const auto part_scores = score_continuations(engine, part, part_options);
    for (size_t i = 0; i < part.size(); ++i) scores[asked_by[i]].choices.push_back(part_scores[i]);
    done += part.size();
  }
  return scores;
}

}  // namespace dlcm
