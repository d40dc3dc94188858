#include "dlcm/dist/launch.h"

#include "dlcm/dist/agreement.h"
#include "dlcm/dist/mpi_communicator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace dlcm {

int ranks_on_this_machine() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}) {
    if (const char* value = std::getenv(name)) return std::max(1, std::atoi(value));
  }
  return 1;
}

Job::Job() {
  if (launched_by_mpi()) {
    auto communicator = std::make_unique<MpiCommunicator>();
    mpi_ = communicator.get();
    communicator_ = std::move(communicator);
  } else {
    communicator_ = std::make_unique<SingleProcess>();
  }
}

Job::~Job() = default;

void Job::watch(double timeout_seconds) {
  if (mpi_ != nullptr) mpi_->watch(timeout_seconds);
}

int Job::run(const std::function<int()>& work) {
  if (communicator_->world_size() == 1) return work();
  const auto end_job = [&](const char* message, int status) {
    fmt::print(stderr, "dlcm: {}: {}\n", communicator_->name_of(communicator_->rank()), message);
    mpi_->end_job(status);
  };
  try {
    return work();
  } catch (const AgreedError& error) {
    if (communicator_->rank() == 0) throw;
    return error.exit_status();
  } catch (const Error& error) {
    end_job(error.what(), error.exit_status());
  } catch (const std::exception& error) {
    end_job(fmt::format("unexpected failure, please report it: {}", error.what()).c_str(), 1);
  }
  return 1;
}

}  // namespace dlcm
