// How the parameters' elements lie in buckets, the pieces in which ranks exchange gradients and weights, and which
// elements each rank owns. A pure function of the sizes and the number of ranks.
#pragma once

#include <cstdint>
#include <vector>

namespace dlcm {

// Elements [first, first + count) of a flattened parameter.
struct ElementRange {
  int64_t first = 0;
  int64_t count = 0;
};

class Buckets {
 public:
  struct Place {
    size_t bucket = 0;
    int64_t begin = 0;  // element of the bucket
  };

  // Parameters of `sizes` elements, in the order of the model. The last ones, whose gradients come first, are in the
  // first bucket; a bucket is full at `bucket_elements`, a larger parameter has one alone. Each bucket has
  // `world_size` parts of equal length, and rank r owns part r.
  Buckets(std::vector<int64_t> sizes, int64_t world_size, int64_t bucket_elements);
  // With the size at which neither the number of messages nor the wait for the last bucket costs much.
  Buckets(std::vector<int64_t> sizes, int64_t world_size);

  size_t size() const { return parameters_.size(); }
  int64_t elements(size_t bucket) const { return elements_[bucket]; }  // what fills it up to equal parts included
  int64_t part_elements(size_t bucket) const { return elements_[bucket] / world_size_; }
  const std::vector<size_t>& parameters(size_t bucket) const { return parameters_[bucket]; }
  Place place(size_t parameter) const { return places_[parameter]; }
  // What of the parameter lies in the rank's part.
  ElementRange owned(size_t parameter, int64_t rank) const;
  // Of all buckets.
  int64_t total_elements() const;
  int64_t largest_elements() const;

 private:
  std::vector<int64_t> sizes_;
  int64_t world_size_;
  std::vector<Place> places_;
  std::vector<std::vector<size_t>> parameters_;
  std::vector<int64_t> elements_;
};

}  // namespace dlcm
