// Sends documents to training or validation by the hash of their text. While one side has no document of its own, the
// other side's document that is closest to belonging there is held back; at the end it changes sides. So neither stays
// empty, and which documents are set aside does not depend on their order.
#pragma once

#include "dlcm/data/shard_writer.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <array>
#include <optional>
#include <string>

namespace dlcm {

class Splitter {
 public:
  // A document goes to `valid` where its hash, as a number in [0, 1), is below `fraction`. Files that a state needs are
  // kept in `folder`.
  Splitter(const Tokenizer& tokenizer, ShardWriter& train, ShardWriter& valid, double fraction, std::string folder);

  void add(EncodedDocument document, uint64_t text_hash);
  // Places a document that is still held back. Of a single document the end becomes validation.
  void finish();

  // As ShardWriter's.
  nlohmann::json commit();
  void forget_older_states();
  void go_on(const nlohmann::json& state);

 private:
  struct Held {
    EncodedDocument document;
    uint64_t text_hash = 0;
  };
  struct Side {
    ShardWriter& writer;
    bool has_own = false;
    std::optional<Held> held{};
  };

  void add_in_two_parts(const EncodedDocument& document);

  const Tokenizer& tokenizer_;
  std::array<Side, 2> sides_;  // training, validation
  double fraction_;
  std::string folder_;
  int64_t num_commits_ = 0;
};

}  // namespace dlcm
