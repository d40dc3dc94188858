// Ranks that are processes under an MPI launcher. One thread of its own makes every call of MPI, so that collectives go
// on while the others compute, whatever level of threads the MPI library offers; it sleeps between its looks, so that
// it takes no core from them. The same thread keeps the heartbeats.
//
// MPI's own reductions may add in another order for another message size. Here every rank gets the parts it has to add
// (MPI_Ialltoall) and adds them in rank order; that moves as many bytes as the best all-reduce.
#pragma once

#include "dlcm/dist/communicator.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace dlcm {

// True where the environment says that an MPI launcher started this process (mpirun, srun with PMI).
bool launched_by_mpi();

class MpiCommunicator final : public Communicator {
 public:
  // Joins the job. At most once a process. Throws RuntimeFailure where MPI cannot start.
  MpiCommunicator();
  // Waits until every rank is here, then leaves the job.
  ~MpiCommunicator() override;

  int64_t rank() const override { return rank_; }
  int64_t world_size() const override { return static_cast<int64_t>(hosts_.size()); }
  std::string name_of(int64_t rank) const override;
  Pending reduce_scatter_sum(const at::Tensor& parts) override;
  Pending all_gather(const at::Tensor& parts) override;
  Traffic traffic() const override;
  void note_progress() override;

  // From here on a rank that has been silent for `timeout_seconds`, or whose work has stood still for ten times as
  // long, ends the job with a sentence on standard error that names it, and exit status 1. Every rank calls this.
  void watch(double timeout_seconds);

  // Ends every rank's process.
  [[noreturn]] void end_job(int status);

 private:
  class Operation;

  void serve();                    // the body of the thread that calls MPI
  void look_around();              // one look at the heartbeats and at a wish to end
  void run(Operation& operation);  // from its beginning to its end
  void leave();
  void guard();  // the body of the thread that notices an MPI call that does not return
  [[noreturn]] void give_up(const std::string& sentence, int status);
  Pending enqueue(std::shared_ptr<Operation> operation);
  double stalled_seconds() const;

  int64_t rank_ = 0;
  std::vector<std::string> hosts_;  // by rank
  std::string failure_;             // of the start
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Operation>> queue_;
  bool ready_ = false, leaving_ = false;
  at::Tensor scratch_;  // bytes
  std::atomic<double> timeout_seconds_ = 0.0;
  std::atomic<int> wished_status_ = -1;
  std::atomic<int> waiting_ = 0;  // callers that wait for a collective
  std::atomic<int64_t> progressed_nanoseconds_ = 0, looked_nanoseconds_ = 0, waited_nanoseconds_ = 0, bytes_sent_ = 0;
  std::atomic<bool> left_ = false;
  std::unique_ptr<class Heartbeats> heartbeats_;
  std::thread thread_, guard_;
};

}  // namespace dlcm
