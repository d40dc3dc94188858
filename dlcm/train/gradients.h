// The gradients of one step: summed over the workers, the micro-batches and the ranks, in this order, while the
// backward pass still runs. A parameter's gradient is taken over the moment autograd has it; when all of a bucket are
// there, its sum over the ranks is under way.
//
// What a rank ends with depends on dist.sharding: all gradients (none), or the sums of the elements that it owns, whose
// moments and weights it updates before the others get them (optimizer, gradients).
#pragma once

#include "dlcm/dist/communicator.h"
#include "dlcm/model/language_model.h"
#include "dlcm/train/buckets.h"

#include <map>
#include <mutex>
#include <vector>

namespace dlcm {

class Gradients {
 public:
  // The model and the communicator must outlive this. With several ranks the parameters of a sharded model get their
  // place in the buckets. `bucket_elements` 0 is the usual size.
  Gradients(LanguageModel& model, Communicator& communicator, Sharding sharding = Sharding::none,
            int64_t bucket_elements = 0);
  ~Gradients();
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  Communicator& communicator() { return communicator_; }

  // A step is begin(), then rounds of begin_round(), backward() once for each part, end_round(), then finish(). Every
  // rank has the same number of rounds; a round may have no part.
  void begin();
  void begin_round(int64_t num_parts, bool last);
  // Back-propagates the loss of part `part`; parts may do so side by side.
  void backward(const at::Tensor& loss, int64_t part);
  void end_round();
  // The sums of the ranks are there. In mode none every parameter's grad() holds its gradient.
  void finish();

  // The elements of each parameter, in the model's order, that this rank updates, and their gradients, flat.
  const std::vector<ElementRange>& owned() const { return owned_; }
  std::vector<at::Tensor> values() const;
  // Global L2 norm over all parameters; not finite where an element is not. The same bits on every rank.
  double norm() const;
  // Gives every rank the weights that their owners have updated.
  void share_parameters();

 private:
  struct Bucket {
    at::Tensor flat;      // the gradients of this round (gradients) or step, end to end
    at::Tensor weights;   // the parameters end to end, where sharded
    at::Tensor part;      // the sums that this rank owns; of `flat` unless sharding is gradients
    int64_t missing = 0;  // parameters whose gradient of this round is not summed up
    Pending reducing, sharing;
  };

  bool several_ranks() const { return communicator_.world_size() > 1; }
  at::Tensor take(size_t parameter, const at::Tensor& gradient);
  void sum_parts(size_t parameter);
  void launch_full_buckets();
  void retire(size_t bucket);
  at::Tensor in_part(size_t parameter) const;  // of the sum that this rank owns, flat
  at::Tensor place_in(const at::Tensor& flat, size_t parameter) const;

  Communicator& communicator_;
  Sharding sharding_;
  std::vector<at::Tensor> parameters_;
  std::vector<unsigned> hooks_;
  Buckets layout_;
  std::vector<ElementRange> owned_;
  std::vector<Bucket> buckets_;

  std::mutex mutex_;
  std::map<int, int64_t> part_of_task_;         // autograd's number of a backward pass -> part
  std::vector<std::vector<at::Tensor>> slots_;  // [parameter][part], until they are summed
  std::vector<int64_t> missing_;                // parts that have not reported a parameter in this round
  bool first_round_ = true, reduces_ = false;
  int64_t flats_ = 0;  // of sharding gradients, at present
  size_t next_launched_ = 0, next_retired_ = 0;
};

}  // namespace dlcm
