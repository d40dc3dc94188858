// One function a benchmark: record -> question. The wording is lm-evaluation-harness's, byte for byte.
#include "dlcm/eval/benchmark.h"

#include "dlcm/eval/python_text.h"
#include "dlcm/eval/subjects.h"
#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace dlcm {
namespace {

const std::vector<std::string> kLetters{"A", "B", "C", "D", "E"};

std::vector<std::string> letters(size_t count) {
  return {kLetters.begin(), kLetters.begin() + static_cast<int64_t>(count)};
}

// The context stands before every choice; between the two is a space.
Question one_context(std::string context, std::vector<std::string> choices, size_t answer) {
  Question question;
  question.example = fmt::format("{} {}\n\n", context, choices[answer]);
  for (const auto& choice : choices) question.continuations.push_back(" " + choice);
  question.contexts = {std::move(context)};
  question.choices = std::move(choices);
  question.answer = answer;
  return question;
}

// "question\nA. first\n ... last\n" + what asks for the letter.
std::string lettered(std::string_view question, const std::vector<std::string>& options, std::string_view ask) {
  auto text = fmt::format("{}\n", python_strip(question));
  for (size_t i = 0; i < options.size(); ++i) text += fmt::format("{}. {}\n", kLetters[i], options[i]);
  return text.append(ask);
}

Question commonsense_qa(const Record& record) {
  const auto options = record.texts("choices.text", 5);
  return one_context("Question: " + lettered(record.text("question"), options, "Answer:"), letters(5),
                     record.label("answerKey", letters(5)));
}

// WikiHow's marks: " [title]" ends a sentence, all else in brackets on one line goes.
std::string without_wikihow_marks(std::string_view text) {
  const auto ended = python_replace(python_strip(text), " [title]", ". ");
  std::string kept;
  for (std::string_view rest = ended; !rest.empty();) {
    const auto end = rest[0] == '[' ? rest.find_first_of("]\n") : std::string_view::npos;
    if (end != std::string_view::npos && rest[end] == ']') {
      rest.remove_prefix(end + 1);
    } else {
      kept += rest[0];
      rest.remove_prefix(1);
    }
  }
  return python_replace(kept, "  ", " ");
}

Question hellaswag(const Record& record) {
  std::vector<std::string> endings;
  for (const auto& ending : record.texts("endings")) endings.push_back(without_wikihow_marks(ending));
  const auto context = fmt::format("{}: {} {}", record.text("activity_label"), record.text("ctx_a"),
                                   python_capitalize(record.text("ctx_b")));
  // The label is published as a string, and as a number in the authors' own files.
  std::vector<std::string> places;
  for (size_t i = 0; i < endings.size(); ++i) places.push_back(std::to_string(i));
  const size_t answer =
      record.field("label").is_string() ? record.label("label", places) : record.index("label", endings.size());
  return one_context(without_wikihow_marks(context), std::move(endings), answer);
}

// Two contexts and one continuation: the sentence up to the gap with either option, and the rest of it.
Question winogrande(const Record& record) {
  const std::string_view sentence = record.text("sentence");
  const auto gap = sentence.find('_');
  if (gap == std::string_view::npos) record.refuse("sentence", "a sentence with a gap \"_\"", "none");
  Question question;
  for (const auto* option : {"option1", "option2"}) {
    question.contexts.push_back(std::string(sentence.substr(0, gap)) + record.text(option));
  }
  const auto rest = python_strip(sentence.substr(gap + 1));
  question.continuations = {fmt::format(" {}", rest)};
  question.choices = question.contexts;
  question.answer = record.label("answer", {"1", "2"});
  question.example = fmt::format("{} {}\n\n", question.contexts[question.answer], rest);
  return question;
}

// The place of answerKey among the choices' own labels, which are letters or numbers.
size_t labelled_answer(const Record& record, std::string_view key, size_t choices) {
  const auto labels = record.texts("choices.label", choices);
  const auto found = std::find(labels.begin(), labels.end(), key);
  if (found == labels.end()) {
    record.refuse("answerKey", fmt::format("one of {}", fmt::join(labels, ", ")), fmt::format("\"{}\"", key));
  }
  return static_cast<size_t>(found - labels.begin());
}

Question openbookqa(const Record& record) {
  auto options = record.texts("choices.text");
  const std::string_view key = record.text("answerKey");
  const auto stripped = key.substr(static_cast<size_t>(python_strip(key).data() - key.data()));  // str.lstrip()
  const size_t answer = labelled_answer(record, stripped, options.size());
  return one_context(record.text("question_stem"), std::move(options), answer);
}

Question arc(const Record& record) {
  auto options = record.texts("choices.text");
  const size_t answer = labelled_answer(record, record.text("answerKey"), options.size());
  return one_context(fmt::format("Question: {}\nAnswer:", record.text("question")), std::move(options), answer);
}

Question piqa(const Record& record) {
  return one_context(fmt::format("Question: {}\nAnswer:", record.text("goal")),
                     {record.text("sol1"), record.text("sol2")}, record.index("label", 2));
}

Question boolq(const Record& record) {
  const auto& label = record.field("label");
  const size_t answer = label.is_boolean() ? static_cast<size_t>(label.get<bool>()) : record.index("label", 2);
  return one_context(fmt::format("{}\nQuestion: {}?\nAnswer:", record.text("passage"), record.text("question")),
                     {"no", "yes"}, answer);
}

Question mmlu(const Record& record) {
  const auto options = record.texts("choices", 4);
  const size_t answer =
      record.field("answer").is_string() ? record.label("answer", letters(4)) : record.index("answer", 4);
  auto question = one_context(lettered(record.text("question"), options, "Answer:"), letters(4), answer);
  question.subject = record.text("subject");
  if (mmlu_category(question.subject).empty()) record.refuse("subject", "a subject of MMLU", question.subject);
  question.description = fmt::format("The following are multiple choice questions (with answers) about {}.\n\n",
                                     python_replace(question.subject, "_", " "));
  return question;
}

// C-Eval and CMMLU: the same body in fields of different names, behind sentences of their own.
struct ChineseExam {
  std::string_view name, question_field, answer_field;
  std::string_view (*subject_name)(std::string_view subject);
  std::string_view before_subject, after_subject;
};

Question chinese_exam(const Record& record, const ChineseExam& exam) {
  std::vector<std::string> options;
  for (const auto& letter : letters(4)) options.push_back(record.text(letter));
  auto question = one_context(lettered(record.text(exam.question_field), options, "答案："), letters(4),
                              record.label(exam.answer_field, letters(4)));
  question.subject = record.text("subject");
  const auto name = exam.subject_name(question.subject);
  if (name.empty()) record.refuse("subject", fmt::format("a subject of {}", exam.name), question.subject);
  question.description = fmt::format("{}{}{}\n\n", exam.before_subject, name, exam.after_subject);
  return question;
}

Question ceval(const Record& record) {
  return chinese_exam(record, {"C-Eval", "question", "answer", ceval_subject_name, "以下是中国关于",
                               "的单项选择题，请选出其中的正确答案。"});
}

Question cmmlu(const Record& record) {
  return chinese_exam(record, {"CMMLU", "Question", "Answer", cmmlu_subject_name, "以下是关于",
                               "的单项选择题，请直接给出正确答案的选项。"});
}

// All problems of an article; the last one is asked, the ones before it stand answered.
Question race(const Record& record) {
  constexpr std::string_view kGap = "  _  .";  // closes a sentence that the answer completes
  const auto list = python_literal(record.text("problems"), fmt::format("\"problems\" in {}", record.where()));
  if (!list.is_array() || list.empty()) record.refuse("problems", "a list of problems", list.type_name());
  auto context = fmt::format("Article: {}\n\n", record.text("article"));
  for (size_t i = 0;; ++i) {
    const Record problem(list[i], record.path(), record.line());
    const auto options = problem.texts("options", 4);
    const auto answer = problem.label("answer", letters(4));
    const std::string_view text = problem.text("question");
    if (i + 1 == list.size()) return one_context(context.append(text), options, answer);
    if (text.ends_with(kGap)) {
      context.append(text.substr(0, text.size() - kGap.size() + 1)).append(options[answer]).append("\n");
    } else {
      context += fmt::format("Question: {}\nAnswer: {}\n", text, options[answer]);
    }
  }
}

Question lambada(const Record& record) {
  const std::string_view text = record.text("text");
  const auto space = text.rfind(' ');
  const auto context = space == std::string_view::npos ? std::string_view() : text.substr(0, space);
  const auto word = space == std::string_view::npos ? text : text.substr(space + 1);
  auto question = one_context(std::string(context), {std::string(word)}, 0);
  question.example = fmt::format("{}  {}\n\n", context, word);  // the harness counts the word's space twice here
  return question;
}

constexpr std::array kBenchmarks{
    Benchmark{"commonsense_qa", commonsense_qa, ExampleChoice::drawn_with_one},
    Benchmark{"hellaswag", hellaswag, ExampleChoice::drawn_with_one},
    Benchmark{"winogrande", winogrande, ExampleChoice::drawn_with_one},
    Benchmark{"openbookqa", openbookqa},
    Benchmark{"piqa", piqa, ExampleChoice::drawn_with_one},
    Benchmark{"arc_challenge", arc},
    Benchmark{"arc_easy", arc},
    Benchmark{"mmlu", mmlu, ExampleChoice::first, Measure::choice, mmlu_category},
    Benchmark{"boolq", boolq, ExampleChoice::drawn_with_one},
    Benchmark{"race", race},
    Benchmark{"ceval", ceval, ExampleChoice::first},
    Benchmark{"cmmlu", cmmlu, ExampleChoice::first},
    Benchmark{"lambada", lambada, ExampleChoice::drawn, Measure::last_word},
};

}  // namespace

std::vector<std::string> benchmark_names() {
  std::vector<std::string> names;
  for (const auto& known : kBenchmarks) names.emplace_back(known.name);
  return names;
}

const Benchmark& benchmark(std::string_view name) {
  for (const auto& known : kBenchmarks) {
    if (known.name == name) return known;
  }
  throw Error("expected one of the tasks {}, found \"{}\": did you mean \"{}\"?", fmt::join(benchmark_names(), ", "),
              name, nearest_name(name, benchmark_names()));
}

std::vector<Question> read_questions(const Benchmark& benchmark, const std::string& path) {
  std::vector<Question> questions;
  for (const auto& record : read_records(path)) {
    auto question = benchmark.question(record);
    question.record = record.object().dump();
    question.where = record.where();
    question.line = record.line();
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace dlcm
