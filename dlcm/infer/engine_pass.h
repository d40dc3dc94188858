// One pass of the engine over rows of several sequences: the model's stages in their order (SPEC section 1), each on
// all rows together, the backbone on the places that open in them.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/infer/engine_stack.h"
#include "dlcm/infer/row_work.h"

#include <cstdint>
#include <span>
#include <vector>

namespace dlcm {

class EnginePass {
 public:
  EnginePass(const EngineModel& model, ThreadPool& pool);

  // Ids [first, first + count) of a work, whose answers are added to the result.
  struct Part {
    const EngineWork* work = nullptr;
    EngineResult* result = nullptr;
    int64_t first = 0, count = 0;
  };
  // Parts of different sequences.
  void run(std::span<const Part> parts);

  const EngineTraffic& traffic() const { return work_.traffic(); }

 private:
  // A part's rows in this pass, and the places that open in them.
  struct Member {
    Part part;
    int64_t row = 0;
    int64_t place = 0, places = 0;
    int64_t open_before = 0;  // tokens of the open segment before these rows

    Sequence& sequence() const { return *part.work->sequence; }
  };

  // A row whose logits are wanted.
  struct Answer {
    const EngineWork* work = nullptr;
    EngineResult* result = nullptr;
    int64_t row = 0;
    bool logits = false;
    std::span<const TokenQuery> queries;
  };

  const std::vector<SequenceRows>& token_rows(std::vector<KeyValueCache> Sequence::*caches);
  const std::vector<SequenceRows>& place_rows();
  // Rows of `embedding` of every id.
  void embed(const PackedMatrix& embedding, std::vector<float>& x);
  // p and b of every row, and the places that open.
  void parse();
  void score_boundaries();
  void read_entropies();
  void place_boundaries(Member& member);
  // The backbone's inputs at the places that open: the means of the segments before them, projected.
  void pool_segments();
  void smooth();
  void add_concepts();
  void count_places();
  // The index-th Psi: keys and values of the places that open, then what all rows read.
  void cross_attend(size_t index);
  void append_places(size_t index);
  // Logits and scores of the rows that they are wanted of.
  void answer();
  void answer_rows(std::span<const Answer> answers);
  // Tokens of the segment that was open before `row`; 0 at a text's first.
  int64_t length_before(const Member& member, int64_t row) const;

  const EngineModel& model_;
  const Config& config_;
  RowWork work_;
  EngineStack stack_;

  std::vector<Member> members_;
  int64_t rows_ = 0, places_ = 0;
  std::vector<SequenceRows> sequence_rows_;
  std::vector<float> x_, normed_, projected_, mixed_;  // [rows, ...]
  std::vector<float> boundary_prob_;
  std::vector<uint8_t> boundary_;
  std::vector<double> entropy_;          // of the entropy rule
  std::vector<int64_t> segment_length_;  // tokens of each row's segment up to it
  std::vector<int64_t> opening_row_;     // of each place
  std::vector<float> z_;                 // [places, W]
  std::vector<int64_t> visible_places_;  // of each row
  std::vector<float> open_log_lengths_;  // of each row, in the replicated reading
  RotaryRows place_angles_;              // of Psi's keys, then of its queries
  std::vector<float> logits_;
};

}  // namespace dlcm
