#include "dlcm/model/segmentation.h"

#include <vector>

namespace dlcm {
namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

}  // namespace

Segmentation Segmentation::from(const at::Tensor& boundary_T, const Documents& documents) {
  TORCH_CHECK(boundary_T.scalar_type() == at::kBool && boundary_T.dim() == 1 && boundary_T.size(0) == documents.rows(),
              "Segmentation: expected a bool per token, found ", boundary_T.scalar_type(), " ", boundary_T.sizes());
  const auto flags = boundary_T.contiguous();
  const auto* boundary = flags.const_data_ptr<bool>();
  const int64_t tokens = documents.rows();
  std::vector<int64_t> start, length, place(tokens), visible_begin(tokens), visible_end(tokens);
  std::vector<int64_t> closed_begin, closed_end, closed_reader, place_offsets{0};
  for (int64_t document = 0; document < documents.size(); ++document) {
    const int64_t first = documents.offsets[document], last = documents.offsets[document + 1];
    const int64_t first_place = place_offsets.back();
    TORCH_CHECK(first == last || boundary[first], "Segmentation: document ", document,
                " does not begin with a boundary");
    for (int64_t t = first; t < last; ++t) {
      if (boundary[t]) {
        if (t > first) {
          closed_begin.push_back(start.back());
          closed_end.push_back(t);
          closed_reader.push_back(static_cast<int64_t>(start.size()));
          length.push_back(t - start.back());
        }
        start.push_back(t);
      }
      place[t] = static_cast<int64_t>(start.size()) - 1;
      visible_begin[t] = first_place;
      visible_end[t] = place[t] + 1;
    }
    if (last > first) length.push_back(last - start.back());
    place_offsets.push_back(static_cast<int64_t>(start.size()));
  }
  return {.places = Documents::from_offsets(std::move(place_offsets)),
          .start_S = to_tensor(start),
          .length_S = to_tensor(length),
          .place_T = to_tensor(place),
          .visible_begin_T = to_tensor(visible_begin),
          .visible_end_T = to_tensor(visible_end),
          .closed_begin_K = to_tensor(closed_begin),
          .closed_end_K = to_tensor(closed_end),
          .closed_reader_K = to_tensor(closed_reader)};
}

}  // namespace dlcm
