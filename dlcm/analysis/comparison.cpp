#include "dlcm/analysis/comparison.h"

#include "dlcm/analysis/numbers.h"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace dlcm {
namespace {

constexpr double kMatchedShare = 0.01;  // within it FLOPs per token count as the same

// "small (DLCM)".
std::string introduced(const RunRecord& run) {
  return run.config ? fmt::format("{} ({})", run.name, kind_in_words(run)) : run.name;
}

bool is_pair(const RunRecord& run, const RunRecord& reference) {
  return run.config && reference.config && run.is_baseline() != reference.is_baseline();
}

// The leader as the sentence about a pair or about two runs of one kind calls it.
std::string leader(const RunRecord& leading, const RunRecord& other) {
  if (!is_pair(leading, other)) return leading.name;
  return leading.is_baseline() ? "the baseline" : "DLCM";
}

const ValidationPoint* last_validation(const RunRecord& run) {
  const auto found = std::find_if(run.validation.rbegin(), run.validation.rend(), [](const ValidationPoint& point) {
    return std::isfinite(point.tokens) && std::isfinite(point.bits_per_byte);
  });
  return found == run.validation.rend() ? nullptr : &*found;
}

bool tokenizers_equal(const RunRecord& run, const RunRecord& reference) {
  return !run.tokenizer_hash.empty() && run.tokenizer_hash == reference.tokenizer_hash;
}

}  // namespace

std::string_view kind_in_words(const RunRecord& run) {
  if (!run.config) return "unknown";
  return run.is_baseline() ? "baseline" : "DLCM";
}

size_t reference_run(const std::vector<RunRecord>& runs) {
  const auto found = std::find_if(runs.begin(), runs.end(), [](const RunRecord& run) { return run.is_baseline(); });
  return found == runs.end() ? 0 : static_cast<size_t>(found - runs.begin());
}

bool all_tokenizers_equal(const std::vector<RunRecord>& runs) {
  return std::all_of(runs.begin(), runs.end(),
                     [&](const RunRecord& run) { return tokenizers_equal(run, runs.front()); });
}

std::vector<Pair> common_validations(const RunRecord& run, const RunRecord& reference) {
  std::map<double, double> of_reference;
  for (const auto& point : reference.validation) {
    if (std::isfinite(point.tokens) && std::isfinite(point.bits_per_byte) && point.bits_per_byte > 0.0) {
      of_reference[point.tokens] = point.bits_per_byte;
    }
  }
  std::vector<Pair> pairs;
  for (const auto& point : run.validation) {
    const auto found = of_reference.find(point.tokens);
    if (found != of_reference.end() && std::isfinite(point.bits_per_byte)) {
      pairs.push_back({point.tokens, point.bits_per_byte, found->second});
    }
  }
  return pairs;
}

std::string standing(const RunRecord& run) {
  const auto* last = last_validation(run);
  if (last == nullptr) return fmt::format("{} has no validation yet.", introduced(run));
  auto text = fmt::format("After {} tokens, {} reads {:.3f} bits per byte", quantity(last->tokens), introduced(run),
                          last->bits_per_byte);
  if (!run.is_baseline() && std::isfinite(last->ratio)) {
    text += fmt::format(" and makes one concept of {:.2f} tokens", last->ratio);
    if (run.config) text += fmt::format(" (target {:g})", run.config->parser.ratio);
  }
  return text + ".";
}

std::string verdict(const RunRecord& run, const RunRecord& reference) {
  const auto* last_of_run = last_validation(run);
  const auto* last_of_reference = last_validation(reference);
  if (last_of_run == nullptr || last_of_reference == nullptr) {
    return fmt::format("{} has no validation yet, so there is nothing to compare.",
                       introduced(last_of_run == nullptr ? run : reference));
  }
  const auto pairs = common_validations(run, reference);
  if (pairs.empty()) {
    return fmt::format(
        "{} and {} were never validated after the same number of tokens, so they are not compared: the one reads "
        "{:.3f} "
        "bits per byte after {} tokens, the other {:.3f} after {}.",
        introduced(run), introduced(reference), last_of_run->bits_per_byte, quantity(last_of_run->tokens),
        last_of_reference->bits_per_byte, quantity(last_of_reference->tokens));
  }
  const auto& pair = pairs.back();
  const double difference = pair.difference();
  auto text = fmt::format("After {} tokens, {} reads {:.3f} bits per byte and {} {:.3f}: ", quantity(pair.tokens),
                          introduced(run), pair.run, introduced(reference), pair.reference);
  if (std::abs(difference) < kLevelShare) {
    text += fmt::format("they are level, within {}.", percentage(kLevelShare));
  } else {
    const bool run_leads = difference < 0.0;
    text += fmt::format("{} is ahead by {}.", run_leads ? leader(run, reference) : leader(reference, run),
                        percentage(difference));
  }
  for (const auto& [one, last] : {std::pair{&run, last_of_run}, std::pair{&reference, last_of_reference}}) {
    if (last->tokens > pair.tokens) {
      text += fmt::format(" {} goes on to {} tokens, so this is not its end.", one->name, quantity(last->tokens));
    }
  }
  if (!run.tokenizer_hash.empty() && !reference.tokenizer_hash.empty() && !tokenizers_equal(run, reference)) {
    text += " Their tokenizers differ, so as many tokens are not as much text.";
  } else if (!run.data_hash.empty() && !reference.data_hash.empty() && run.data_hash != reference.data_hash) {
    text += " They were trained on different data, and so may have been validated on different text.";
  }
  return text;
}

std::string flops_verdict(const RunRecord& run, const RunRecord& reference) {
  const auto of_run = run.training_flops_per_token();
  const auto of_reference = reference.training_flops_per_token();
  if (!of_run || !of_reference) return "";
  const double difference = *of_run / *of_reference - 1.0;
  if (std::abs(difference) <= kMatchedShare) {
    return fmt::format("{} and {} spend the same FLOPs per token, within {}.", run.name, reference.name,
                       percentage(kMatchedShare));
  }
  return fmt::format("{} spends {} {} FLOPs per token than {}.", run.name, percentage(difference),
                     difference > 0.0 ? "more" : "fewer", reference.name);
}

}  // namespace dlcm
