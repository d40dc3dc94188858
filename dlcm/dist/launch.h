// Which ranks this process trains with.
#pragma once

#include "dlcm/dist/communicator.h"

#include <functional>
#include <memory>

namespace dlcm {

// Ranks that the launcher has started on this machine, this one included; 1 without a launcher that says so.
int ranks_on_this_machine();

// The ranks of the job that an MPI launcher started this process in, or this process alone. Where no launcher did, MPI
// is not touched.
class Job {
 public:
  Job();
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Communicator& communicator() { return *communicator_; }

  // Ends the job where a rank has been silent for so long (docs/distributed.md). Every rank calls this.
  void watch(double timeout_seconds);

  // Calls `work` and returns its exit status. An Error that all ranks agree on (dist/agreement.h) is thrown on by rank
  // 0 alone; any other exception of a rank of many is reported here, with the rank's name, and ends the whole job.
  int run(const std::function<int()>& work);

 private:
  std::unique_ptr<Communicator> communicator_;
  class MpiCommunicator* mpi_ = nullptr;  // communicator_, where it is one
};

}  // namespace dlcm
