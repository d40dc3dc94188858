#include "dlcm/eval/few_shot.h"

#include "dlcm/eval/python_random.h"
#include "dlcm/util/error.h"

#include <map>

namespace dlcm {
namespace {

constexpr uint32_t kHarnessSeed = 1234;

using Examples = std::vector<const Question*>;

std::map<std::string, Examples> by_subject(const std::vector<Question>& questions) {
  std::map<std::string, Examples> subjects;
  for (const auto& question : questions) subjects[question.subject].push_back(&question);
  return subjects;
}

Examples without(const Examples& examples, const Question& question) {
  Examples others;
  for (const auto* example : examples) {
    if (example->record != question.record) others.push_back(example);
  }
  return others;
}

// Examples for one question after another.
class Chooser {
 public:
  Chooser(ExampleChoice choice, bool from_questions, size_t count)
      : choice_(choice), from_questions_(from_questions), count_(count) {}

  // How many there must be.
  size_t needed() const { return count_ + (from_questions_ ? 1 : 0); }

  // Fewer than asked for where `pool` has too few.
  Examples choose(const Examples& pool, const Question& question) {
    auto chosen = candidates(pool, question);
    if (chosen.size() > count_) chosen.resize(count_);
    return chosen;
  }

 private:
  bool leaves_out() const { return from_questions_ || choice_ == ExampleChoice::drawn_with_one; }

  Examples candidates(const Examples& pool, const Question& question) {
    if (choice_ == ExampleChoice::first) return leaves_out() ? without(pool, question) : pool;
    if (!leaves_out()) return draw(pool, count_);
    auto others = without(draw(pool, count_ + 1), question);
    // Several copies of the question were among them: once more, without any.
    return others.size() < count_ ? draw(without(pool, question), count_) : others;
  }

  Examples draw(const Examples& pool, size_t count) {
    if (pool.size() < count) return {};
    Examples drawn;
    for (const size_t place : random_.sample(pool.size(), count)) drawn.push_back(pool[place]);
    return drawn;
  }

  ExampleChoice choice_;
  bool from_questions_;
  size_t count_;
  PythonRandom random_{kHarnessSeed};
};

}  // namespace

std::vector<std::string> prompt_beginnings(const Benchmark& benchmark, const std::vector<Question>& questions,
                                           int64_t shots, const std::optional<ExamplePool>& pool) {
  const auto count = static_cast<size_t>(shots);
  auto examples = by_subject(pool ? pool->questions : questions);
  Chooser chooser(benchmark.examples, !pool, count);
  std::vector<std::string> beginnings;
  for (const auto& question : questions) {
    auto& beginning = beginnings.emplace_back(question.description);
    if (count == 0) continue;
    const auto& known = examples[question.subject];
    const auto chosen = chooser.choose(known, question);
    if (chosen.size() < count) {
      throw Error("expected at least {} {}{} in {} for --shots {}, found {}: give more of them or ask for fewer shots",
                  chooser.needed(), pool ? "examples" : "items",
                  question.subject.empty() ? "" : " of " + question.subject, pool ? pool->file : benchmark.name, shots,
                  known.size());
    }
    for (const auto* example : chosen) beginning += example->example;
  }
  return beginnings;
}

}  // namespace dlcm
