#include "dlcm/dist/agreement.h"

#include <algorithm>
#include <optional>

namespace dlcm {
namespace {

// Values may hold any bytes but these.
constexpr char kEndOfName = '\1', kEndOfValue = '\2';

NamedValues parsed(const std::string& text) {
  NamedValues values;
  for (size_t begin = 0; begin < text.size();) {
    const size_t middle = text.find(kEndOfName, begin), end = text.find(kEndOfValue, middle);
    values.emplace_back(text.substr(begin, middle - begin), text.substr(middle + 1, end - middle - 1));
    begin = end + 1;
  }
  return values;
}

}  // namespace

void on_every_rank(Communicator& communicator, const std::function<void()>& work) {
  if (communicator.world_size() == 1) return work();
  std::string failure;  // the exit status as one character, then the message
  try {
    work();
  } catch (const Error& error) {
    failure = static_cast<char>(error.exit_status()) + std::string(error.what());
  } catch (const std::exception& error) {
    failure = static_cast<char>(1) + std::string("unexpected failure, please report it: ") + error.what();
  }
  const auto failures = communicator.all_gather_text(failure);
  const auto first = std::find_if(failures.begin(), failures.end(), [](const auto& text) { return !text.empty(); });
  if (first == failures.end()) return;
  const auto rank = first - failures.begin();
  const auto message = first->substr(1);
  throw AgreedError(first->front(), rank == 0 ? message : communicator.name_of(rank) + ": " + message);
}

void require_equal(Communicator& communicator, const NamedValues& values) {
  std::string text;
  for (const auto& [name, value] : values) text += name + kEndOfName + value + kEndOfValue;
  const auto all = communicator.all_gather_text(text);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const auto expected = parsed(all[0]), found = parsed(all[rank]);
    for (size_t i = 0; i < std::max(expected.size(), found.size()); ++i) {
      const auto value_of = [&](const NamedValues& list) {
        return i < list.size() ? list[i] : std::pair<std::string, std::string>{"", "nothing"};
      };
      const auto [name, value] = value_of(expected);
      const auto [other_name, other] = value_of(found);
      if (name == other_name && value == other) continue;
      throw Error("{} has {} {}, where {} has {}: start every rank with the same configuration, program and data",
                  communicator.name_of(static_cast<int64_t>(rank)), other_name.empty() ? name : other_name, other,
                  communicator.name_of(0), value);
    }
  }
}

}  // namespace dlcm
