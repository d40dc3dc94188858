#include "dlcm/dist/heartbeats.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace dlcm {
namespace {

constexpr int kTag = 1;
constexpr double kPollsPerInterval = 16.0;
// Where it is rank 0 that is silent, rank 1 says so, and the others leave it the time to.
constexpr double kLaterSeconds = 0.5;
constexpr double kFarewellSeconds = 0.2;

double seconds_between(Heartbeats::Clock::time_point from, Heartbeats::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Heartbeats::Heartbeats(double timeout_seconds, std::function<std::string(int)> name_of)
    : timeout_seconds_(timeout_seconds), name_of_(std::move(name_of)) {
  MPI_Comm_dup(MPI_COMM_WORLD, &ranks_);
  MPI_Comm_rank(ranks_, &rank_);
  int size = 1;
  MPI_Comm_size(ranks_, &size);
  polled_ = sent_ = Clock::now();
  if (rank_ != 0) {
    peers_.resize(1);
  } else {
    peers_.resize(static_cast<size_t>(size) - 1);
    for (int peer = 1; peer < size; ++peer) peers_[static_cast<size_t>(peer) - 1].rank = peer;
  }
  for (Peer& peer : peers_) {
    peer.heard = polled_;
    MPI_Irecv(&peer.incoming, 2, MPI_DOUBLE, peer.rank, kTag, ranks_, &peer.receiving);
    send(peer, 0.0);
  }
}

Heartbeats::~Heartbeats() {
  for (Peer& peer : peers_) MPI_Wait(&peer.sending, MPI_STATUS_IGNORE);
  MPI_Comm_free(&ranks_);
}

void Heartbeats::send(Peer& peer, double stalled_seconds) {
  if (peer.sent_last) return;
  int free = 1;
  MPI_Test(&peer.sending, &free, MPI_STATUS_IGNORE);
  if (!free) return;
  peer.outgoing = {stalled_seconds, leaving_ ? kLast : kAlive};
  peer.sent_last = leaving_;
  MPI_Isend(&peer.outgoing, 2, MPI_DOUBLE, peer.rank, kTag, ranks_, &peer.sending);
}

Heartbeats::Ending Heartbeats::given_up(int rank, const std::string& reason) const {
  return {fmt::format("{} {}: the training ends here, and --resume goes on from the newest checkpoint", name_of_(rank),
                      reason)};
}

std::optional<Heartbeats::Ending> Heartbeats::receive(Peer& peer) {
  int arrived = 1;
  while (!peer.said_last) {
    MPI_Test(&peer.receiving, &arrived, MPI_STATUS_IGNORE);
    if (!arrived) return std::nullopt;
    peer.heard = polled_;
    if (peer.incoming.kind == kEnd) return Ending{"", static_cast<int>(peer.incoming.value)};
    if (peer.incoming.value > kPatience * timeout_seconds_) {
      return given_up(peer.rank, fmt::format("lives but has done nothing for {:.0f} s", peer.incoming.value));
    }
    peer.said_last = peer.incoming.kind == kLast;
    if (!peer.said_last) MPI_Irecv(&peer.incoming, 2, MPI_DOUBLE, peer.rank, kTag, ranks_, &peer.receiving);
  }
  return std::nullopt;
}

std::optional<Heartbeats::Ending> Heartbeats::poll(double stalled_seconds) {
  const auto now = Clock::now();
  const double pause = seconds_between(polled_, now);
  if (pause < interval_seconds() / kPollsPerInterval && !leaving_) return std::nullopt;
  polled_ = now;
  // Who was stopped itself has heard of nobody and must not blame them.
  if (pause > 2 * interval_seconds()) {
    for (Peer& peer : peers_) peer.heard = now;
  }
  const bool due = seconds_between(sent_, now) >= interval_seconds() || leaving_;
  if (due) sent_ = now;
  const double timeout = timeout_seconds_ + (rank_ > 1 ? kLaterSeconds : 0.0);
  for (Peer& peer : peers_) {
    if (due) send(peer, stalled_seconds);
    if (auto ending = receive(peer)) return ending;
    if (!peer.said_last && seconds_between(peer.heard, now) > timeout) {
      return given_up(peer.rank, fmt::format("has not been heard of by {} for {:g} s (killed, stopped, or cut off)",
                                             name_of_(rank_), timeout_seconds_));
    }
  }
  if (rank_ == 0 && stalled_seconds > kPatience * timeout_seconds_) {
    return given_up(0, fmt::format("lives but has done nothing for {:.0f} s", stalled_seconds));
  }
  return std::nullopt;
}

void Heartbeats::say_that_it_ends(int status) {
  static Beat end;  // some messages may never leave
  end = {static_cast<double>(status), kEnd};
  std::vector<MPI_Request> requests(peers_.size(), MPI_REQUEST_NULL);
  for (size_t i = 0; i < peers_.size(); ++i) {
    MPI_Isend(&end, 2, MPI_DOUBLE, peers_[i].rank, kTag, ranks_, &requests[i]);
  }
  // Who still lives reads it at once; who does not is not waited for.
  const auto begin = Clock::now();
  for (int done = 0; !done && seconds_between(begin, Clock::now()) < kFarewellSeconds;) {
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
  }
}

bool Heartbeats::left() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.said_last && peer.sent_last; });
}

}  // namespace dlcm
