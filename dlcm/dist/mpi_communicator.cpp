#include "dlcm/dist/mpi_communicator.h"

#include "dlcm/dist/heartbeats.h"
#include "dlcm/util/error.h"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration_cast;
using std::chrono::nanoseconds;

constexpr auto kShortestSleep = std::chrono::microseconds(5), kLongestSleep = std::chrono::microseconds(100);
constexpr auto kIdleSleep = std::chrono::milliseconds(200);
constexpr int kLooksBeforeSleep = 50;
// What MPI_Abort gets before the process ends without it.
constexpr auto kAbortTime = std::chrono::seconds(5);
constexpr int64_t kSumBlock = 4096;

int64_t now_nanoseconds() { return duration_cast<nanoseconds>(Clock::now().time_since_epoch()).count(); }

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kByte:
      return MPI_UINT8_T;
    default:
      TORCH_CHECK(false, "MpiCommunicator: no collective on ", type);
  }
}

// sum = part 0 + part 1 + ..., in this order, a block that stays in the cache at a time.
template <typename T>
void sum_in_order(const T* parts, int64_t count, int64_t size, T* sum) {
  for (int64_t first = 0; first < size; first += kSumBlock) {
    const int64_t end = std::min(size, first + kSumBlock);
    std::copy(parts + first, parts + end, sum + first);
    for (int64_t part = 1; part < count; ++part) {
      const T* summand = parts + part * size;
#pragma omp simd
      for (int64_t i = first; i < end; ++i) sum[i] += summand[i];
    }
  }
}

}  // namespace

bool launched_by_mpi() {
  constexpr std::array kMarks{"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MPI_LOCALRANKID"};
  return std::any_of(kMarks.begin(), kMarks.end(), [](const char* mark) { return std::getenv(mark) != nullptr; });
}

class MpiCommunicator::Operation final : public PendingCollective {
 public:
  enum class Kind { reduce_scatter, all_gather };
  Operation(MpiCommunicator& communicator, Kind kind, at::Tensor parts)
      : communicator_(communicator), kind_(kind), parts_(std::move(parts)) {}

  void wait() override {
    std::unique_lock lock(communicator_.mutex_);
    if (done_) return;
    const int64_t begin = now_nanoseconds();
    ++communicator_.waiting_;
    communicator_.changed_.wait(lock, [&] { return done_; });
    --communicator_.waiting_;
    communicator_.note_progress();
    communicator_.waited_nanoseconds_ += now_nanoseconds() - begin;
  }

 private:
  friend class MpiCommunicator;
  MpiCommunicator& communicator_;
  Kind kind_;
  at::Tensor parts_;
  bool done_ = false;
};

MpiCommunicator::MpiCommunicator() {
  note_progress();
  thread_ = std::thread(&MpiCommunicator::serve, this);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ready_; });
  if (!failure_.empty()) {
    lock.unlock();
    thread_.join();
    throw RuntimeFailure("{}", failure_);
  }
}

MpiCommunicator::~MpiCommunicator() {
  ++waiting_;
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  thread_.join();
  left_ = true;
  if (guard_.joinable()) guard_.join();
}

std::string MpiCommunicator::name_of(int64_t rank) const {
  return fmt::format("rank {} on host {}", rank, hosts_[static_cast<size_t>(rank)]);
}

Pending MpiCommunicator::enqueue(std::shared_ptr<Operation> operation) {
  const auto& parts = operation->parts_;
  TORCH_CHECK(parts.is_contiguous() && parts.device().is_cpu() && parts.numel() % world_size() == 0,
              "MpiCommunicator: expected a contiguous tensor of ", world_size(), " equal parts, found ", parts.sizes());
  const auto type = mpi_type(parts.scalar_type());
  TORCH_CHECK(type != MPI_UINT8_T || operation->kind_ == Operation::Kind::all_gather,
              "MpiCommunicator: a sum of bytes");
  const int64_t part = parts.numel() / world_size();
  TORCH_CHECK(part <= std::numeric_limits<int>::max(), "MpiCommunicator: a part of ", part, " elements");
  bytes_sent_ += (world_size() - 1) * part * static_cast<int64_t>(parts.element_size());
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(operation);
  }
  changed_.notify_all();
  return operation;
}

Pending MpiCommunicator::reduce_scatter_sum(const at::Tensor& parts) {
  return enqueue(std::make_shared<Operation>(*this, Operation::Kind::reduce_scatter, parts.detach()));
}

Pending MpiCommunicator::all_gather(const at::Tensor& parts) {
  return enqueue(std::make_shared<Operation>(*this, Operation::Kind::all_gather, parts.detach()));
}

Traffic MpiCommunicator::traffic() const { return {bytes_sent_, static_cast<double>(waited_nanoseconds_) * 1e-9}; }

void MpiCommunicator::note_progress() { progressed_nanoseconds_ = now_nanoseconds(); }

double MpiCommunicator::stalled_seconds() const {
  return waiting_ > 0 ? 0.0 : static_cast<double>(now_nanoseconds() - progressed_nanoseconds_) * 1e-9;
}

void MpiCommunicator::watch(double timeout_seconds) {
  if (world_size() == 1) return;
  note_progress();
  looked_nanoseconds_ = now_nanoseconds();
  timeout_seconds_ = timeout_seconds;
  changed_.notify_all();
  guard_ = std::thread(&MpiCommunicator::guard, this);
}

void MpiCommunicator::end_job(int status) {
  wished_status_ = status;
  changed_.notify_all();
  std::this_thread::sleep_for(kAbortTime);
  std::fflush(nullptr);
  ::_exit(status);
}

void MpiCommunicator::give_up(const std::string& sentence, int status) {
  left_ = true;
  if (!sentence.empty()) fmt::print(stderr, "dlcm: {}\n", sentence);
  std::fflush(nullptr);
  if (heartbeats_) heartbeats_->say_that_it_ends(status);
  std::thread([status] {
    std::this_thread::sleep_for(kAbortTime);
    ::_exit(status);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, status);
  ::_exit(status);
}

// A call of MPI that does not return would also stop the heartbeats.
void MpiCommunicator::guard() {
  int64_t checked = now_nanoseconds();
  while (!left_) {
    std::this_thread::sleep_for(kIdleSleep);
    const int64_t now = now_nanoseconds();
    const bool was_stopped = static_cast<double>(now - checked) * 1e-9 > timeout_seconds_ / 2;
    checked = now;
    if (was_stopped) looked_nanoseconds_ = now;
    const double silent = static_cast<double>(now - looked_nanoseconds_) * 1e-9;
    if (left_ || silent <= timeout_seconds_) continue;
    fmt::print(stderr,
               "dlcm: on {} a call of MPI has not returned for {:g} s: the training ends here, and --resume "
               "goes on from the newest checkpoint\n",
               name_of(rank_), timeout_seconds_.load());
    std::fflush(nullptr);
    ::_exit(1);
  }
}

void MpiCommunicator::look_around() {
  looked_nanoseconds_ = now_nanoseconds();
  if (wished_status_ >= 0) give_up("", wished_status_);
  if (timeout_seconds_ == 0.0) return;
  if (!heartbeats_) {
    heartbeats_ = std::make_unique<Heartbeats>(timeout_seconds_, [this](int rank) { return name_of(rank); });
  }
  if (const auto ending = heartbeats_->poll(stalled_seconds())) {
    if (ending->sentence.empty()) {
      heartbeats_->say_that_it_ends(ending->status);
      ::_exit(ending->status);
    }
    give_up(ending->sentence, ending->status);
  }
}

void MpiCommunicator::run(Operation& operation) {
  auto& parts = operation.parts_;
  const auto type = mpi_type(parts.scalar_type());
  const int64_t part = parts.numel() / world_size();
  const bool reduces = operation.kind_ == Operation::Kind::reduce_scatter;
  MPI_Request request = MPI_REQUEST_NULL;
  int status = MPI_SUCCESS;
  if (reduces) {
    const auto bytes = static_cast<int64_t>(parts.nbytes());
    if (!scratch_.defined() || scratch_.numel() < bytes) scratch_ = at::empty(at::IntArrayRef{bytes}, at::kByte);
    status = MPI_Ialltoall(parts.const_data_ptr(), static_cast<int>(part), type, scratch_.mutable_data_ptr(),
                           static_cast<int>(part), type, MPI_COMM_WORLD, &request);
  } else {
    status = MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, parts.mutable_data_ptr(), static_cast<int>(part), type,
                            MPI_COMM_WORLD, &request);
  }
  auto sleep = kShortestSleep;
  for (int looks = 0, done = 0; status == MPI_SUCCESS && !done; ++looks) {
    status = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    look_around();
    if (done || looks < kLooksBeforeSleep) continue;
    std::this_thread::sleep_for(sleep);
    sleep = std::min(2 * sleep, kLongestSleep);
  }
  if (status != MPI_SUCCESS) {
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(status, text.data(), &length);
    give_up(
        fmt::format("on {} MPI failed ({}): the training ends here, and --resume goes on from the newest checkpoint",
                    name_of(rank_), std::string(text.data(), static_cast<size_t>(length))),
        1);
  }
  if (!reduces) return;
  const auto add = [&](auto* own) {
    using T = std::remove_pointer_t<decltype(own)>;
    sum_in_order(reinterpret_cast<const T*>(scratch_.const_data_ptr()), world_size(), part, own + rank_ * part);
  };
  if (parts.scalar_type() == at::kFloat) {
    add(parts.mutable_data_ptr<float>());
  } else if (parts.scalar_type() == at::kDouble) {
    add(parts.mutable_data_ptr<double>());
  } else {
    add(parts.mutable_data_ptr<int64_t>());
  }
}

void MpiCommunicator::leave() {
  if (heartbeats_) {
    heartbeats_->leave();
    while (!heartbeats_->left()) {
      look_around();
      std::this_thread::sleep_for(kLongestSleep);
    }
    heartbeats_.reset();
  }
  timeout_seconds_ = 0.0;
  left_ = true;
  MPI_Finalize();
}

void MpiCommunicator::serve() {
  int level = 0, initialised = 0, rank = 0, size = 1;
  MPI_Initialized(&initialised);
  if (initialised || MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS) {
    failure_ = "MPI could not be started: see its message above";
  } else {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    std::array<char, MPI_MAX_PROCESSOR_NAME> own{};
    int length = 0;
    MPI_Get_processor_name(own.data(), &length);
    std::vector<char> names(own.size() * static_cast<size_t>(size));
    MPI_Allgather(own.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR,
                  MPI_COMM_WORLD);
    for (int i = 0; i < size; ++i) hosts_.emplace_back(names.data() + static_cast<size_t>(i) * own.size());
    rank_ = rank;
  }
  std::unique_lock lock(mutex_);
  ready_ = true;
  changed_.notify_all();
  if (!failure_.empty()) return;
  while (!leaving_ || !queue_.empty()) {
    if (queue_.empty()) {
      const auto pause = heartbeats_ ? std::chrono::duration<double>(heartbeats_->interval_seconds() / 2)
                                     : std::chrono::duration<double>(kIdleSleep);
      changed_.wait_for(lock, pause);
    }
    const auto operation = queue_.empty() ? nullptr : queue_.front();
    lock.unlock();
    look_around();
    if (operation) run(*operation);
    lock.lock();
    if (operation) {
      queue_.pop_front();
      operation->parts_.reset();
      operation->done_ = true;
      changed_.notify_all();
    }
  }
  lock.unlock();
  leave();
}

}  // namespace dlcm
