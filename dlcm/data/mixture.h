// Several data sets that are trained on as one, each with a share of the tokens: a data directory by itself, or what a
// mixture file names (docs/data.md).
#pragma once

#include "dlcm/data/dataset.h"
#include "dlcm/data/shuffled_windows.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

// One source of a mixture file.
struct MixtureEntry {
  std::string name;
  std::string directory;
  double weight = 0;  // above 0; the share of the tokens is the weight over the sum of all weights
};

// Reads a mixture file: TOML with a table [[source]] a source, keys "data" (a data directory, from the file's own
// folder on), "weight" and, where the directory's name does not do, "name". Throws Error naming file and line of an
// unknown or missing key, a bad weight, or a name that comes twice.
std::vector<MixtureEntry> read_mixture_file(const std::string& path);

class Mixture {
 public:
  struct Source {
    std::string name;
    double share = 1;  // of the tokens; all shares add up to 1
    Dataset data;
  };

  // `path` is a data directory or a mixture file. Throws as Dataset and read_mixture_file do, and where the sources are
  // not of one tokenizer.
  Mixture(const std::string& path, Split split);

  const std::vector<Source>& sources() const { return sources_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return sources_.front().data.tokenizer(); }
  // Of all sources, each counted once.
  int64_t documents() const;
  int64_t tokens() const;
  // Identifies the content of all sources, their order and their shares; of a single directory it is the data set's.
  std::string hash() const;

 private:
  std::vector<Source> sources_;
};

// Validation: of every source its share of `max_tokens`, as validation_batches of a data set gives them.
std::vector<Batch> validation_batches(const Mixture& mixture, int64_t context, int64_t batch_tokens,
                                      int64_t max_tokens);

// The order in which training sees the windows of all sources: a pure function of (seed, position), whatever the number
// of ranks or micro-batches. Every source keeps its own shuffled order (ShuffledWindows) and its own epochs.
//
// Window i of a source with share w arrives at time (i + u) / w, with u drawn evenly from [0, 1) by the key (seed,
// source, i); the order is that of the arrivals. So a source never is more than a window or so away from its share, at
// any position, and which comes next cannot be foreseen. The position of a window is found without going through those
// before.
class MixedWindows {
 public:
  // The mixture must outlive this.
  MixedWindows(const Mixture& mixture, int64_t seed, int64_t context);

  // A window of the order.
  struct Place {
    size_t source;
    int64_t number;  // in the source's own order
  };
  // Those of tokens [first, first + count) of the order; both are multiples of the context. All of this is safe to call
  // from threads.
  std::vector<Place> windows(int64_t first, int64_t count) const;
  // The windows end to end, and the edges of one's document pieces, without its tokens.
  Batch read(const std::vector<Place>& windows) const;
  std::vector<int64_t> offsets(const Place& window) const;

  // Tokens [first, first + count) of the order.
  Batch read(int64_t first, int64_t count) const { return read(windows(first, count)); }
  // How many of them have a target.
  int64_t targets(int64_t first, int64_t count) const;
  // How often each source has been gone through before token `first`: its windows there times the context over its
  // tokens.
  std::vector<double> epochs(int64_t first) const;

 private:
  double arrival(size_t source, int64_t window) const;
  // Windows of the source that arrive before `time`.
  int64_t arrived(size_t source, double time) const;
  // The windows at positions [first, first + count), and each source's number of windows before `first`.
  std::vector<Place> places(int64_t first, int64_t count, std::vector<int64_t>* before = nullptr) const;

  const Mixture& mixture_;
  uint64_t seed_;
  int64_t context_;
  std::vector<std::unique_ptr<ShuffledWindows>> windows_;
};

}  // namespace dlcm
