#include "dlcm/sweep/sweep.h"

#include "dlcm/data/mixture.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/sweep/child_run.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

namespace dlcm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kPollInterval = std::chrono::milliseconds(50);
// How long a run of a former sweep may still take to save and end.
constexpr auto kPatience = std::chrono::minutes(5);
constexpr int kTrainingFailed = 1;  // exit status
// Runs in a row that end early, after which it is the machine's fault and no further one starts.
constexpr int kMostEarlyEnds = 3;

volatile std::sig_atomic_t stop_signal = 0;

// While it lives, SIGINT and SIGTERM only leave a note.
class SignalNote {
 public:
  SignalNote() {
    stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
    // Where whoever started this program ignores it, the system would keep no exit status of the runs.
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &usual, &child_);
  }
  ~SignalNote() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
    sigaction(SIGCHLD, &child_, nullptr);
  }
  SignalNote(const SignalNote&) = delete;
  SignalNote& operator=(const SignalNote&) = delete;

 private:
  struct sigaction interrupt_ {
  }, terminate_{}, child_{};
};

// The step that a run has logged last.
int64_t logged_step(const std::string& run) {
  constexpr int64_t kTail = 2048;
  const auto path = run + "/metrics.jsonl";
  if (!fs::exists(path)) return 0;
  const InputFile file(path);
  const int64_t length = std::min(file.bytes(), kTail);
  std::string tail(static_cast<size_t>(length), '\0');
  file.read(file.bytes() - length, tail.data(), length);
  const auto found = tail.rfind("\"step\":");
  return found == std::string::npos ? 0 : std::strtoll(tail.c_str() + found + 7, nullptr, 10);
}

struct Running {
  size_t point;
  std::string key, directory;
  std::unique_ptr<ChildRun> child;
};

struct SweepData {
  explicit SweepData(const std::string& path) {
    const Mixture train(path, Split::train), validation(path, Split::valid);
    hash = train.hash();
    validation_hash = validation.hash();
    vocabulary = train.tokenizer()->vocabulary();
  }
  std::string hash, validation_hash;
  int64_t vocabulary = 0;
};

class Sweep {
 public:
  // Reads and checks all that it can before the output is touched.
  explicit Sweep(const SweepRequest& request)
      : request_(request),
        spec_(request.spec),
        data_(request.data),
        points_(first_points()),
        program_hash_(hash_file(request.program)),
        lock_(request.output, "sweep"),
        store_(request.output),
        begin_(Clock::now()) {}

  SweepResult run();

 private:
  // All of a grid; where a descent starts.
  std::vector<SweepPoint> first_points() const;
  SweepPoint resolved(SweepPoint point) const;
  bool wait_for_former(const std::string& directory);
  // Trains every point that has no row yet; false where the budget ended or a signal came before all were done.
  bool train(const std::vector<SweepPoint>& points);
  void start(size_t index, const SweepPoint& point);
  void finish(const Running& running, const SweepPoint& point, const ChildEnd& end);
  void show(const std::vector<SweepPoint>& points);
  const Row* row_of(const SweepPoint& point) const { return store_.find(point.key); }
  bool is_settled(const SweepPoint& point) const {
    const auto* row = row_of(point);
    return row != nullptr && (!request_.retry_failed || (*row)["status"] == "done" || retried_.contains(point.key));
  }
  bool may_start() const {
    const double hours = std::chrono::duration<double>(Clock::now() - begin_).count() / 3600.0;
    return stop_signal == 0 && early_ends_ < kMostEarlyEnds && started_ < spec_.most_runs && hours < spec_.most_hours;
  }
  bool descend(std::vector<SweepPoint>& visited);

  const SweepRequest& request_;
  const SweepSpec& spec_;
  SweepData data_;
  std::vector<SweepPoint> points_;
  std::string program_hash_;
  RunLock lock_;
  RowStore store_;
  Clock::time_point begin_;
  std::vector<Running> running_;
  std::set<std::string> retried_;
  std::optional<ProgressLine> line_;
  int64_t started_ = 0, trained_ = 0;
  int early_ends_ = 0;  // in a row
  std::string problem_;
};

std::vector<SweepPoint> Sweep::first_points() const {
  std::vector<SweepPoint> points;
  if (spec_.method == SweepMethod::grid) {
    for (auto& point : grid_points(spec_)) points.push_back(resolved(std::move(point)));
    return points;
  }
  auto origin = spec_;
  for (auto& axis : origin.axes) {
    if (!axis.multiply.empty()) axis.values.insert(axis.values.begin(), AxisValue{"1", {}, {}, 1.0});
  }
  return {resolved(
      sweep_point(origin, std::vector<size_t>(origin.axes.size(), 0), std::vector<double>(origin.axes.size(), 1.0)))};
}

SweepPoint Sweep::resolved(SweepPoint point) const {
  if (point.config.model.vocabulary == 0) point.config.model.vocabulary = data_.vocabulary;
  if (point.config.model.vocabulary < data_.vocabulary) {
    throw Error(
        "{}: model.vocabulary = {} is smaller than the {} ids of the data's tokenizer: set it to 0 to take the "
        "tokenizer's size",
        spec_.path, point.config.model.vocabulary, data_.vocabulary);
  }
  point.config.train.threads = spec_.threads;
  point.key = run_key(point.config, data_.hash + data_.validation_hash);
  return point;
}

// A run that a killed sweep has left may still be saving. False where a signal came first.
bool Sweep::wait_for_former(const std::string& directory) {
  const auto patience = Clock::now() + kPatience;
  for (bool told = false;; told = true) {
    try {
      const RunLock free(directory);
      return true;
    } catch (const RuntimeFailure&) {
      throw;
    } catch (const Error& error) {
      if (stop_signal != 0) return false;
      if (Clock::now() > patience) throw;
      if (!told) line_->message(fmt::format("waiting for it to end: {}", error.what()));
      std::this_thread::sleep_for(kPollInterval);
    }
  }
}

void Sweep::start(size_t index, const SweepPoint& point) {
  const auto& key = point.key;
  const auto directory = (fs::path(request_.output) / "runs" / key).string();
  if (!wait_for_former(directory)) return;
  // A failed run that is tried again starts anew: its checkpoints are of the training that failed.
  if (request_.retry_failed && row_of(point) != nullptr) {
    store_.remove(*row_of(point));
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename() != "lock") fs::remove_all(entry.path());
    }
  }
  write_file_synced(directory + "/config.toml", to_toml(point.config));
  running_.push_back({index, key, directory,
                      std::make_unique<ChildRun>(
                          std::vector<std::string>{request_.program, "train", "--config", directory + "/config.toml",
                                                   "--data", request_.data, "--output", directory, "--resume"},
                          directory + "/log")});
  ++started_;
}

void Sweep::finish(const Running& running, const SweepPoint& point, const ChildEnd& end) {
  const auto message = end.status == 0 ? std::string() : running.child->last_message();
  // Losses that are no numbers any more are a result; all else that ends a run early is none.
  const bool diverged = !end.signal && end.status == kTrainingFailed && message.find("not finite") != std::string::npos;
  if (end.status != 0 && !diverged) {
    if (stop_signal != 0) return;
    const auto how = end.signal ? fmt::format("signal {}", *end.signal) : fmt::format("status {}", end.status);
    const auto problem = fmt::format("the run in {} ended early ({}; its messages are in {}/log){}{}",
                                     running.directory, how, running.directory, message.empty() ? "" : ": ", message);
    line_->message(problem);
    if (problem_.empty()) problem_ = problem;
    ++early_ends_;
    return;
  }
  early_ends_ = 0;
  store_.put(make_row(point, running.key, {data_.hash, data_.validation_hash, program_hash_}, "runs/" + running.key,
                      running.directory, message));
  ++trained_;
  retried_.insert(running.key);
  if (spec_.keep_checkpoints) return;
  for (const auto& entry : fs::directory_iterator(running.directory)) {
    if (entry.path().filename().string().starts_with("step-")) fs::remove_all(entry.path());
  }
}

void Sweep::show(const std::vector<SweepPoint>& points) {
  int64_t steps = 0, done = 0, total = 0;
  for (const auto& point : points) {
    total += point.config.train.steps;
    if (!is_settled(point)) continue;
    steps += point.config.train.steps;
    ++done;
  }
  for (const auto& running : running_)
    steps += std::min(logged_step(running.directory), points[running.point].config.train.steps);
  if (!line_) {
    line_.emplace(
        ProgressLine::Options{.label = "sweep", .total = total, .first_step = steps, .stream = stderr, .clock = {}});
  }
  line_->update(steps, {fmt::format("{} of {} runs", done, points.size())});
}

bool Sweep::train(const std::vector<SweepPoint>& points) {
  line_.reset();
  show(points);
  size_t next = 0;
  bool stopped = false;
  while (true) {
    while (next < points.size() && running_.size() < static_cast<size_t>(spec_.runs_at_once)) {
      const bool twin = std::any_of(running_.begin(), running_.end(),
                                    [&](const Running& other) { return other.key == points[next].key; });
      if (twin || is_settled(points[next])) {
        ++next;
        continue;
      }
      if (!may_start()) break;
      start(next, points[next]);
      ++next;
    }
    if (running_.empty()) break;
    if (stop_signal != 0 && !stopped) {
      stopped = true;
      line_->message("stopping: the runs save and end");
      for (const auto& running : running_) running.child->stop();
    }
    std::this_thread::sleep_for(kPollInterval);
    for (size_t i = 0; i < running_.size();) {
      const auto end = running_[i].child->poll();
      if (!end) {
        ++i;
        continue;
      }
      const auto running = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      finish(running, points[running.point], *end);
    }
    show(points);
  }
  line_->finish();
  return std::all_of(points.begin(), points.end(), [&](const SweepPoint& point) { return is_settled(point); });
}

// Coordinate descent: the values of one axis at a time from the best so far, until a round over all axes gains nothing.
bool Sweep::descend(std::vector<SweepPoint>& visited) {
  std::vector<size_t> choices(spec_.axes.size(), 0);
  std::vector<double> factors(spec_.axes.size(), 1.0);
  const auto objective = [&](const SweepPoint& point) {
    const auto* row = row_of(point);
    return row == nullptr ? std::nullopt : number_of(*row, spec_.objective);
  };
  const auto visit = [&](const std::vector<SweepPoint>& points) {
    for (const auto& point : points) {
      const auto same = [&](const SweepPoint& other) { return other.key == point.key; };
      if (std::none_of(visited.begin(), visited.end(), same)) visited.push_back(point);
    }
    return train(points);
  };
  // Where the best so far stands: a factor axis at no value of its own, with its factor in `factors`.
  auto origin = spec_;
  for (auto& axis : origin.axes) {
    if (!axis.multiply.empty()) axis.values.insert(axis.values.begin(), AxisValue{"1", {}, {}, 1.0});
  }
  if (!visit(points_)) return false;
  auto best = objective(points_.front());
  for (bool gained = true; gained;) {
    gained = false;
    for (size_t axis = 0; axis < origin.axes.size(); ++axis) {
      std::vector<SweepPoint> candidates;
      std::vector<size_t> values;
      for (size_t value = 0; value < origin.axes[axis].values.size(); ++value) {
        if (value == choices[axis]) continue;
        auto tried = choices;
        tried[axis] = value;
        try {
          candidates.push_back(resolved(sweep_point(origin, tried, factors)));
        } catch (const RuntimeFailure&) {
          throw;
        } catch (const Error& error) {
          line_->message(fmt::format("left out: {}", error.what()));
          continue;
        }
        values.push_back(value);
      }
      if (!visit(candidates)) return false;
      std::optional<size_t> winner;
      for (size_t i = 0; i < candidates.size(); ++i) {
        const auto value = objective(candidates[i]);
        if (!value || (best && *value >= *best)) continue;
        best = value;
        winner = values[i];
      }
      if (!winner) continue;
      gained = true;
      if (origin.axes[axis].multiply.empty()) {
        choices[axis] = *winner;
      } else {
        factors[axis] *= origin.axes[axis].values[*winner].factor;
      }
    }
  }
  return true;
}

SweepResult Sweep::run() {
  const SignalNote note;
  SweepResult result;
  std::vector<SweepPoint> points;
  if (spec_.method == SweepMethod::grid) {
    points = points_;
    result.complete = train(points);
  } else {
    result.complete = descend(points);
  }
  for (const auto& point : points) {
    const auto* row = row_of(point);
    if (row == nullptr) continue;
    result.rows.push_back(*row);
    result.rows.back()["axes"] = axes_of(point);  // another sweep may have trained it, under names of its own
    const auto value = number_of(*row, spec_.objective);
    if (value && (!result.best || *value < *number_of(*result.best, spec_.objective))) result.best = result.rows.back();
  }
  result.trained = trained_;
  result.problem = problem_;
  if (stop_signal != 0) result.signal = static_cast<int>(stop_signal);
  return result;
}

}  // namespace

SweepResult run_sweep(const SweepRequest& request) { return Sweep(request).run(); }

}  // namespace dlcm
