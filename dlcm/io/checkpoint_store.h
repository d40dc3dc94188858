// Checkpoints of a run: RUN/step-00001000/ holds model.safetensors, optimizer.safetensors, config.toml, tokenizer and,
// written last, trainer.json, which lists size and hash of the others and carries a hash of itself.
//
// A checkpoint is built in RUN/.saving-step-00001000/ and renamed when all of it is on the disk, so that a directory
// step-* that lacks something was damaged later. docs/formats.md describes the files.
#pragma once

#include "dlcm/io/safetensors.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct Checkpoint {
  int64_t step = 0;
  SafeTensors model;
  SafeTensors optimizer;
  std::string config_toml;
  // What Tokenizer::serialized() gave.
  std::string tokenizer;
  // Whatever the trainer needs to go on: a JSON object. "format", "step", "hash", "hashes" and "bytes" belong to the
  // store. Non-finite numbers become null.
  nlohmann::json trainer = nlohmann::json::object();
};

// Saves durably, then prunes the run to its `keep` (>= 1) newest complete checkpoints and removes what interrupted
// saves left. The one just saved is always kept. Returns its path. Throws RuntimeFailure where the disk does not take
// it; then nothing of it remains and the older checkpoints are as they were.
std::string save_checkpoint(const std::string& run, const Checkpoint& checkpoint, int64_t keep);

// The same in three acts, where several processes have a part of the optimiser's state each: begin, make the synced
// file optimizer_path(), finish. Without finish nothing of it remains.
class CheckpointSave {
 public:
  CheckpointSave(std::string run, int64_t step);
  ~CheckpointSave();
  CheckpointSave(const CheckpointSave&) = delete;
  CheckpointSave& operator=(const CheckpointSave&) = delete;

  std::string optimizer_path() const;
  // `checkpoint` is of this step; its optimizer is not looked at.
  std::string finish(const Checkpoint& checkpoint, int64_t keep);

 private:
  std::string run_, saving_, target_;
  bool finished_ = false;
};

// The path of `path` itself where it is a checkpoint, or of the newest complete one where it is a run directory.
// Complete: trainer.json can be read, and every file it lists is there with its size. Throws Error where there is none,
// saying what was found.
std::string find_checkpoint(const std::string& path);

// The complete checkpoints of a run, oldest first; empty where there is none.
std::vector<std::string> complete_checkpoints(const std::string& run);

// Loads what find_checkpoint(path) gives and verifies the hash of every file read; `optimizer` stays empty and unread
// without `with_optimizer`. Throws Error naming the damaged file and the older checkpoint to use, or the format where
// another version of dlcm wrote it.
Checkpoint load_checkpoint(const std::string& path, bool with_optimizer);

// The same without the tensors, which stay empty; the weights' file is verified all the same.
Checkpoint load_checkpoint_facts(const std::string& path);

// The file of the optimiser's state in the checkpoint at `path`, for who reads only parts of it. With `verify` its hash
// is verified; throws as load_checkpoint does.
std::string optimizer_file(const std::string& path, bool verify);

}  // namespace dlcm
