#include "dlcm/util/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

namespace dlcm {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kFirstPlainSeconds = 10.0;
constexpr double kPlainGrowth = 1.5;
constexpr double kLongestPlainSeconds = 300.0;
constexpr int64_t kShortestBar = 10;
constexpr int64_t kLongestBar = 40;
constexpr int64_t kUnknownColumns = 80;

bool continues_character(char byte) { return (static_cast<uint8_t>(byte) & 0xc0) == 0x80; }

// One column per character; the texts are ours or file names, where this is close enough.
int64_t width_of(std::string_view text) {
  return static_cast<int64_t>(text.size()) - std::count_if(text.begin(), text.end(), continues_character);
}

// A line end or an escape in a label would break the line.
std::string without_controls(std::string text) {
  for (char& byte : text) {
    if (static_cast<uint8_t>(byte) < 0x20 || byte == 0x7f) {
      byte = '?';
    }
  }
  return text;
}

std::string cut_to(std::string text, int64_t columns) {
  size_t end = 0;
  for (int64_t used = 0; end < text.size(); ++end) {
    if (!continues_character(text[end]) && ++used > columns) {
      break;
    }
  }
  text.resize(end);
  return text;
}

// "42s", "12:34", "1:02:03", "3d 04h".
std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  const int64_t minutes = whole / 60;
  const int64_t hours = minutes / 60;
  if (minutes == 0) {
    return fmt::format("{}s", whole);
  }
  if (hours == 0) {
    return fmt::format("{}:{:02}", minutes, whole % 60);
  }
  if (hours < 24) {
    return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, whole % 60);
  }
  return fmt::format("{}d {:02}h", hours / 24, hours % 24);
}

// Empty at the end, and while this process has done nothing.
std::string time_left(const ProgressState& state) {
  const int64_t done = state.step - state.first_step;
  const int64_t remaining = state.total - state.step;
  if (done <= 0 || remaining <= 0) {
    return "";
  }
  return duration_text(state.elapsed_seconds * static_cast<double>(remaining) / static_cast<double>(done)) + " left";
}

std::string bar(const ProgressState& state, int64_t columns) {
  const int64_t inside = columns - 2;
  const auto filled = static_cast<int64_t>(static_cast<double>(inside) * static_cast<double>(state.step) /
                                           static_cast<double>(state.total));
  std::string marks(static_cast<size_t>(inside), '-');
  std::fill_n(marks.begin(), std::clamp<int64_t>(filled, 0, inside), '#');
  return fmt::format("[{}]", marks);
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The terminal's width now: windows change.
int64_t columns_of(std::FILE* stream) {
  struct winsize size{};
  return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUnknownColumns;
}

}  // namespace

std::string render_progress(const ProgressState& state, int64_t columns) {
  // The parts in the order of the line, each with its rank: the highest rank goes first where room is short.
  struct Part {
    std::string text;
    size_t rank;
  };
  std::vector<Part> parts;
  const bool known = state.total > 0;
  parts.push_back({without_controls(state.label), 0});
  parts.push_back({known ? fmt::format("{}/{}", state.step, state.total) : fmt::format("{}", state.step), 1});
  if (known) {
    // Rounded down: 100% is for the end.
    parts.push_back({fmt::format("{}%", static_cast<int64_t>(100.0 * static_cast<double>(state.step) /
                                                             static_cast<double>(state.total))),
                     2});
  }
  for (size_t i = 0; i < state.fields.size(); ++i) {
    parts.push_back({without_controls(state.fields[i]), 4 + i});
  }
  parts.push_back({duration_text(state.elapsed_seconds), 4 + state.fields.size()});
  parts.push_back({time_left(state), 3});
  std::erase_if(parts, [](const Part& part) { return part.text.empty(); });

  const auto width = [&] {
    return std::accumulate(parts.begin(), parts.end(), static_cast<int64_t>(parts.size()) - 1,
                           [](int64_t sum, const Part& part) { return sum + width_of(part.text); });
  };
  if (columns > 0) {
    const int64_t room = columns - 1;
    const int64_t spare = room - width() - 1;
    while (parts.size() > 1 && width() > room) {
      parts.erase(std::max_element(parts.begin(), parts.end(),
                                   [](const Part& left, const Part& right) { return left.rank < right.rank; }));
    }
    if (known && spare >= kShortestBar) {
      const auto behind_label = parts.begin() + (parts.front().rank == 0 ? 1 : 0);
      parts.insert(behind_label, {bar(state, std::min(spare, kLongestBar)), 0});
    }
    if (width() > room) {
      parts.front().text = cut_to(std::move(parts.front().text), std::max<int64_t>(room, 0));
    }
  }
  std::string line;
  for (const auto& part : parts) {
    line += (line.empty() ? "" : " ") + part.text;
  }
  return line;
}

ProgressLine::ProgressLine(Options options)
    : options_(std::move(options)), terminal_(::isatty(::fileno(options_.stream)) == 1) {
  if (!options_.clock) {
    options_.clock = steady_seconds;
  }
  state_.label = options_.label;
  state_.total = options_.total;
  state_.first_step = options_.first_step;
  state_.step = options_.first_step;
  begin_seconds_ = options_.clock();
  interval_seconds_ = terminal_ ? kRedrawSeconds : kFirstPlainSeconds;
  next_seconds_ = begin_seconds_ + (terminal_ ? 0.0 : interval_seconds_);
}

ProgressLine::~ProgressLine() { finish(); }

void ProgressLine::update(int64_t step, std::vector<std::string> fields) {
  state_.step = step;
  state_.fields = std::move(fields);
  const double now = options_.clock();
  if (finished_ || now < next_seconds_) {
    return;
  }
  if (!terminal_) {
    interval_seconds_ = std::min(interval_seconds_ * kPlainGrowth, kLongestPlainSeconds);
  }
  next_seconds_ = now + interval_seconds_;
  draw();
}

void ProgressLine::message(std::string_view text) {
  std::fputs(fmt::format("{}{}\n", drawn_ && terminal_ ? "\r\x1b[K" : "", text).c_str(), options_.stream);
  if (drawn_ && terminal_ && !finished_) {
    draw();
  }
  std::fflush(options_.stream);
}

void ProgressLine::finish() {
  if (finished_) {
    return;
  }
  draw();
  finished_ = true;
  if (terminal_) {
    std::fputs("\n", options_.stream);
    std::fflush(options_.stream);
  }
}

void ProgressLine::draw() {
  state_.elapsed_seconds = options_.clock() - begin_seconds_;
  drawn_ = true;
  const std::string text = terminal_ ? fmt::format("\r{}\x1b[K", render_progress(state_, columns_of(options_.stream)))
                                     : render_progress(state_, 0) + "\n";
  std::fputs(text.c_str(), options_.stream);
  std::fflush(options_.stream);
}

}  // namespace dlcm
