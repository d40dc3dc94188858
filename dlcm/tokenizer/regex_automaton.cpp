#include "dlcm/tokenizer/regex_automaton.h"

#include <algorithm>
#include <map>
#include <string>

namespace dlcm {
namespace {

constexpr size_t kMostInstructions = 4096;
constexpr size_t kMostStates = 4096;
constexpr size_t kMostClasses = 255;
constexpr size_t kMostSteps = size_t{1} << 25;  // of making the states; the families' patterns take some thousand
constexpr size_t kBlocks = (kLastCodePoint >> 8) + 1;

using Kind = RegexNode::Kind;

// What was too large for the automaton; caught in RegexAutomaton::make.
struct TooLarge {};

// A step of the pattern. `take` goes on at `next` after a code point of set number `set`; `look` goes on at `next` if
// the next code point is of the set (`negated`: is not, or the text ends); `fork` tries `next`, then `other`.
struct Instruction {
  enum class Kind { take, look, fork, match };
  Kind kind = Kind::match;
  size_t set = 0;
  bool negated = false;
  size_t next = 0, other = 0;
};

// The pattern as instructions, made from its end to its beginning.
class Program {
 public:
  explicit Program(const RegexNode& pattern) {
    const size_t match = add({.kind = Instruction::Kind::match});
    start_ = before(pattern, match);
  }

  size_t start() const { return start_; }
  const Instruction& operator[](size_t index) const { return instructions_[index]; }
  size_t size() const { return instructions_.size(); }
  const std::vector<CodePoints>& sets() const { return sets_; }

 private:
  size_t add(Instruction instruction) {
    if (instructions_.size() == kMostInstructions) throw TooLarge();
    instructions_.push_back(instruction);
    return instructions_.size() - 1;
  }

  size_t set_number(const CodePoints& set) {
    const auto found = std::find(sets_.begin(), sets_.end(), set);
    if (found != sets_.end()) return static_cast<size_t>(found - sets_.begin());
    sets_.push_back(set);
    return sets_.size() - 1;
  }

  // The first instruction of `node` when what follows it begins at `next`.
  size_t before(const RegexNode& node, size_t next) {
    switch (node.kind) {
      case Kind::one_of:
        return add({.kind = Instruction::Kind::take, .set = set_number(node.set), .next = next});
      case Kind::look_ahead:
        return add(
            {.kind = Instruction::Kind::look, .set = set_number(node.set), .negated = node.negated, .next = next});
      case Kind::sequence:
        for (auto child = node.children.rbegin(); child != node.children.rend(); ++child) next = before(*child, next);
        return next;
      case Kind::alternation: {
        size_t rest = before(node.children.back(), next);
        for (auto child = node.children.rbegin() + 1; child != node.children.rend(); ++child) {
          const size_t branch = before(*child, next);
          rest = add({.kind = Instruction::Kind::fork, .next = branch, .other = rest});
        }
        return rest;
      }
      case Kind::repeat:
        return repeated(node, next);
    }
    return next;
  }

  size_t repeated(const RegexNode& node, size_t next) {
    const RegexNode& child = node.children.front();
    size_t first = next;
    if (node.most == RegexNode::kNoLimit) {
      const size_t fork = add({.kind = Instruction::Kind::fork});
      set_fork(fork, before(child, fork), next, node.greedy);
      first = fork;
    } else {
      for (int count = node.least; count < node.most; ++count) {
        const size_t fork = add({.kind = Instruction::Kind::fork});
        set_fork(fork, before(child, first), next, node.greedy);
        first = fork;
      }
    }
    for (int count = 0; count < node.least; ++count) first = before(child, first);
    return first;
  }

  void set_fork(size_t fork, size_t again, size_t enough, bool greedy) {
    instructions_[fork].next = greedy ? again : enough;
    instructions_[fork].other = greedy ? enough : again;
  }

  std::vector<Instruction> instructions_;
  std::vector<CodePoints> sets_;
  size_t start_ = 0;
};

}  // namespace

class RegexAutomaton::Builder {
 public:
  explicit Builder(const RegexNode& pattern) : program_(pattern) {}

  RegexAutomaton build() {
    find_classes();
    number_of({});  // state 0: nowhere
    number_of({program_.start()});
    for (size_t state = 0; state < states_.size(); ++state) {
      for (size_t code_class = 0; code_class <= automaton_.classes_; ++code_class) add_transition(state, code_class);
    }
    return std::move(automaton_);
  }

 private:
  // Code points that are in the same sets share a class.
  void find_classes() {
    std::vector<char32_t> cuts{0};
    for (const auto& set : program_.sets()) {
      for (const auto& range : set.ranges()) {
        cuts.push_back(range.first);
        cuts.push_back(range.last + 1);
      }
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::map<std::vector<bool>, uint8_t> class_of_members;
    std::vector<uint8_t> class_of_code(kBlocks << 8);
    for (size_t index = 0; index < cuts.size() && cuts[index] <= kLastCodePoint; ++index) {
      std::vector<bool> members;
      for (const auto& set : program_.sets()) members.push_back(set.contains(cuts[index]));
      const auto [entry, is_new] = class_of_members.emplace(members, static_cast<uint8_t>(members_.size()));
      if (is_new) members_.push_back(members);
      if (members_.size() > kMostClasses) throw TooLarge();
      const size_t end = index + 1 < cuts.size() ? cuts[index + 1] : kLastCodePoint + 1;
      std::fill(class_of_code.begin() + static_cast<int64_t>(cuts[index]),
                class_of_code.begin() + static_cast<int64_t>(end), entry->second);
    }
    automaton_.classes_ = members_.size();
    std::copy_n(class_of_code.begin(), automaton_.ascii_class_.size(), automaton_.ascii_class_.begin());
    std::map<std::string, uint16_t> block_number;
    for (size_t block = 0; block < kBlocks; ++block) {
      const auto* classes = class_of_code.data() + (block << 8);
      const std::string content(classes, classes + 256);
      const auto [entry, is_new] = block_number.emplace(content, static_cast<uint16_t>(block_number.size()));
      if (is_new) automaton_.class_blocks_.insert(automaton_.class_blocks_.end(), classes, classes + 256);
      automaton_.class_block_.push_back(entry->second);
    }
  }

  size_t number_of(const std::vector<size_t>& places) {
    const auto [entry, is_new] = numbers_.emplace(places, states_.size());
    if (is_new) {
      if (states_.size() == kMostStates) throw TooLarge();
      states_.push_back(places);
    }
    return entry->second;
  }

  void add_transition(size_t state, size_t code_class) {
    next_.clear();
    matched_ = false;
    visited_.assign(program_.size(), false);
    steps_ += program_.size() + states_[state].size();
    if (steps_ > kMostSteps) throw TooLarge();
    for (const size_t place : states_[state]) follow(place, code_class);
    const size_t next = number_of(next_);
    automaton_.transitions_.push_back(static_cast<uint16_t>(next << 1 | (matched_ ? 1 : 0)));
  }

  bool is_member(const Instruction& instruction, size_t code_class) const {
    return code_class < automaton_.classes_ && members_[code_class][instruction.set];
  }

  // Goes on from `place`, in the order of a backtracking matcher, to all places that take the code point.
  void follow(size_t place, size_t code_class) {
    std::vector<size_t> rest{place};
    while (!rest.empty() && !matched_) {
      const size_t at = rest.back();
      rest.pop_back();
      if (visited_[at]) continue;
      visited_[at] = true;
      const Instruction& instruction = program_[at];
      switch (instruction.kind) {
        case Instruction::Kind::take:
          if (is_member(instruction, code_class) &&
              std::find(next_.begin(), next_.end(), instruction.next) == next_.end()) {
            next_.push_back(instruction.next);
          }
          break;
        case Instruction::Kind::look:
          if (is_member(instruction, code_class) != instruction.negated) rest.push_back(instruction.next);
          break;
        case Instruction::Kind::fork:
          rest.push_back(instruction.other);
          rest.push_back(instruction.next);
          break;
        case Instruction::Kind::match:
          matched_ = true;
          break;
      }
    }
  }

  Program program_;
  RegexAutomaton automaton_;
  std::vector<std::vector<bool>> members_;  // [class][set]
  std::vector<std::vector<size_t>> states_;
  std::map<std::vector<size_t>, size_t> numbers_;
  std::vector<size_t> next_;
  std::vector<bool> visited_;
  bool matched_ = false;
  size_t steps_ = 0;
};

std::optional<RegexAutomaton> RegexAutomaton::make(const RegexNode& pattern) {
  try {
    return Builder(pattern).build();
  } catch (const TooLarge&) {
    return std::nullopt;
  }
}

}  // namespace dlcm
