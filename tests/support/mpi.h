// Several ranks of a program on this machine, as `mpirun` starts them.
#pragma once

#include "tests/support/process.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace dlcm::test {

inline bool has_mpirun() { return std::system("command -v mpirun >/dev/null 2>&1") == 0; }

// Settings of Open MPI for tests: more ranks than cores, root in a container, a small /dev/shm, no ptrace, no ssh.
inline std::vector<std::pair<std::string, std::string>> mpi_environment() {
  return {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
          {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
          {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
          {"OMPI_MCA_hwloc_base_binding_policy", "none"},
          {"OMPI_MCA_btl", "self,vader"},
          {"OMPI_MCA_btl_vader_backing_directory", "/tmp"},
          {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
          {"OMPI_MCA_plm_rsh_agent", "sh"},
          // Twice this is what mpirun takes to end a job: time to save after a SIGTERM.
          {"OMPI_MCA_odls_base_sigkill_timeout", "4"},
          {"OMP_NUM_THREADS", "1"}};
}

inline Process mpi_process(const std::string& scratch, int ranks, const std::string& program,
                           std::vector<std::string> arguments) {
  std::vector<std::string> all{"-np", std::to_string(ranks), program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return Process(scratch, "mpirun", std::move(all), mpi_environment());
}

}  // namespace dlcm::test
