// Who is still there: MPI itself notices neither a process that hangs nor a link that is cut. Every rank tells rank 0
// that it lives, several times in the time that it may be silent, and rank 0 tells every rank.
#pragma once

#include <mpi.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// Lives on the one thread that calls MPI.
class Heartbeats {
 public:
  using Clock = std::chrono::steady_clock;

  // A rank is given up after `timeout_seconds` of silence, or when its own work has stood still for kPatience times as
  // long. `name_of` says "rank 2 on host b".
  Heartbeats(double timeout_seconds, std::function<std::string(int)> name_of);
  ~Heartbeats();
  Heartbeats(const Heartbeats&) = delete;
  Heartbeats& operator=(const Heartbeats&) = delete;

  struct Ending {
    std::string sentence;  // empty where another rank has said it
    int status = 1;
  };

  static constexpr double kPatience = 10.0;
  static constexpr double kBeatsPerTimeout = 8.0;

  double interval_seconds() const { return timeout_seconds_ / kBeatsPerTimeout; }

  // Sends and receives what is due; cheap where nothing is. `stalled_seconds`: how long this rank's own work has stood
  // still. Returns how the job ends where a rank is given up, or another rank has ended it.
  std::optional<Ending> poll(double stalled_seconds);

  // This rank needs nothing more of the others; poll() goes on until left() says that all have said so.
  void leave() { leaving_ = true; }
  bool left() const;

  // The job ends: tells the ranks that this one watches.
  void say_that_it_ends(int status);

 private:
  struct Beat {
    double value = 0.0;  // seconds that the rank's work has stood still, or the exit status
    double kind = 0.0;   // kAlive, kLast or kEnd
  };
  struct Peer {
    int rank = 0;
    Beat incoming, outgoing;
    MPI_Request receiving = MPI_REQUEST_NULL, sending = MPI_REQUEST_NULL;
    Clock::time_point heard;
    bool said_last = false, sent_last = false;
  };

  static constexpr double kAlive = 0.0, kLast = 1.0, kEnd = 2.0;

  void send(Peer& peer, double stalled_seconds);
  std::optional<Ending> receive(Peer& peer);
  Ending given_up(int rank, const std::string& reason) const;

  double timeout_seconds_;
  std::function<std::string(int)> name_of_;
  MPI_Comm ranks_ = MPI_COMM_NULL;  // of its own, so that its messages meet no others
  int rank_ = 0;
  std::vector<Peer> peers_;
  Clock::time_point polled_, sent_;
  bool leaving_ = false;
};

}  // namespace dlcm
