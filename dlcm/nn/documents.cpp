#include "dlcm/nn/documents.h"

namespace dlcm {

Documents Documents::from_offsets(std::vector<int64_t> offsets) {
  TORCH_CHECK(!offsets.empty() && offsets.front() == 0, "document offsets start at 0");
  const int64_t rows = offsets.back();
  Documents documents;
  documents.position_T = at::empty({rows}, at::kLong);
  documents.begin_T = at::empty({rows}, at::kLong);
  documents.end_T = at::arange(1, rows + 1, at::kLong);
  auto* position = documents.position_T.mutable_data_ptr<int64_t>();
  auto* begin = documents.begin_T.mutable_data_ptr<int64_t>();
  for (size_t document = 0; document + 1 < offsets.size(); ++document) {
    TORCH_CHECK(offsets[document] <= offsets[document + 1], "document offsets must not decrease");
    for (int64_t row = offsets[document]; row < offsets[document + 1]; ++row) {
      position[row] = row - offsets[document];
      begin[row] = offsets[document];
    }
  }
  documents.offsets = std::move(offsets);
  return documents;
}

Documents Documents::within(int64_t window) const {
  auto documents = *this;
  if (window > 0) documents.begin_T = at::maximum(begin_T, end_T - window);
  return documents;
}

}  // namespace dlcm
