#include "dlcm/model/batch.h"

#include <algorithm>
#include <cstdlib>

namespace dlcm {

std::vector<Batch> Batch::parts(int64_t count) const {
  const auto& offsets = documents.offsets;
  std::vector<Batch> batches;
  size_t first = 0;
  for (int64_t part = 1; part <= count && first + 1 < offsets.size(); ++part) {
    // The document edge nearest to the part's share of the tokens, or the end.
    size_t last = offsets.size() - 1;
    if (part < count) {
      const int64_t wanted = tokens() * part / count;
      last = static_cast<size_t>(std::lower_bound(offsets.begin(), offsets.end(), wanted) - offsets.begin());
      if (last > 0 && wanted - offsets[last - 1] < offsets[last] - wanted) --last;
    }
    if (offsets[last] == offsets[first]) continue;
    const int64_t begin = offsets[first], rows = offsets[last] - begin;
    std::vector<int64_t> own;
    for (size_t i = first; i <= last; ++i) own.push_back(offsets[i] - begin);
    batches.push_back({.token_T = token_T.narrow(0, begin, rows),
                       .target_T = target_T.narrow(0, begin, rows),
                       .documents = Documents::from_offsets(std::move(own)),
                       .index_T = index_T.defined() ? index_T.narrow(0, begin, rows) : at::Tensor()});
    first = last;
  }
  return batches;
}

}  // namespace dlcm
