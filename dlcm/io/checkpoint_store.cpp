#include "dlcm/io/checkpoint_store.h"

#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

namespace dlcm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kFormat = 1;
constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kSavingPrefix = ".saving-";
constexpr std::string_view kRemovingPrefix = ".removing-";
constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kConfig = "config.toml";
constexpr const char* kTokenizer = "tokenizer";
constexpr const char* kTrainer = "trainer.json";
// What trainer.json lists.
constexpr std::array<const char*, 4> kFiles{kModel, kOptimizer, kConfig, kTokenizer};
// What belongs to the store in trainer.json, besides its step.
constexpr std::array<const char*, 4> kReservedKeys{"format", "hash", "hashes", "bytes"};
// trainer.json begins with these and its own hash, which covers all that follows the second one.
constexpr std::string_view kBeforeHash = "{\n  \"hash\": \"";
constexpr std::string_view kAfterHash = "\",\n";
constexpr size_t kHashDigits = 32;
constexpr size_t kStepDigits = 8;

struct StepDirectory {
  int64_t step = 0;
  std::string path;
};

// What a look at a directory's trainer.json and the sizes of its files finds. A foreign checkpoint is one of another
// format: nothing is known about it, so it is neither loaded nor removed.
struct Inspection {
  enum class State { complete, damaged, foreign };
  State state = State::complete;
  // Where the state is not complete: "DIR/model.safetensors is missing".
  std::string problem;
  json content;
  std::map<std::string, std::string> hashes;
};

std::string step_name(int64_t step) { return fmt::format("{}{:0{}}", kStepPrefix, step, kStepDigits); }

std::string join(const std::string& directory, std::string_view name) { return (fs::path(directory) / name).string(); }

// The step in "step-00001000"; nothing for other names.
std::optional<int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kStepPrefix.size());
  int64_t step = 0;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (name.size() < kStepDigits || failure != std::errc{} || end != name.data() + name.size() || step < 0) {
    return std::nullopt;
  }
  return step;
}

std::string own_name(const std::string& checkpoint) {
  // "run/step-00000100/" has an empty last part.
  const fs::path path = fs::path(checkpoint).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

// The step-* directories of a run, oldest first.
std::vector<StepDirectory> step_directories(const std::string& run) {
  std::vector<StepDirectory> found;
  std::error_code failure;
  for (fs::directory_iterator entry(run, failure), end; !failure && entry != end; entry.increment(failure)) {
    const auto step = step_of(entry->path().filename().string());
    if (step && entry->is_directory(failure)) {
      found.push_back({*step, entry->path().string()});
    }
  }
  if (failure) {
    throw RuntimeFailure("cannot list the directory {}: {}", run, failure.message());
  }
  std::sort(found.begin(), found.end(),
            [](const StepDirectory& left, const StepDirectory& right) { return left.step < right.step; });
  return found;
}

std::string trainer_text(json content) {
  content.erase("hash");
  // Without its opening "{\n"; `step` is always there, so the object is not empty.
  const std::string rest = content.dump(2, ' ', false, json::error_handler_t::replace).substr(2) + "\n";
  return std::string(kBeforeHash) + hash_bytes(rest) + std::string(kAfterHash) + rest;
}

bool own_hash_is_right(std::string_view text) {
  const size_t rest = kBeforeHash.size() + kHashDigits + kAfterHash.size();
  return text.size() > rest && text.starts_with(kBeforeHash) &&
         text.substr(kBeforeHash.size() + kHashDigits).starts_with(kAfterHash) &&
         text.substr(kBeforeHash.size(), kHashDigits) == hash_bytes(text.substr(rest));
}

Inspection damaged(std::string problem) { return {Inspection::State::damaged, std::move(problem), {}, {}}; }

Inspection inspect(const std::string& checkpoint) {
  const std::string path = join(checkpoint, kTrainer);
  std::error_code failure;
  if (!fs::exists(path, failure)) {
    return damaged(path + " is missing");
  }
  const std::string text = read_file(path);
  Inspection found;
  found.content = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!found.content.is_object()) {
    return damaged(path + " is damaged: it is no JSON object");
  }
  const auto format = found.content.find("format");
  if (format != found.content.end() && format->is_number_integer() && *format != kFormat) {
    found.state = Inspection::State::foreign;
    found.problem = fmt::format("{} says format {}, and this dlcm reads format {}", path, format->dump(), kFormat);
    return found;
  }
  if (!own_hash_is_right(text)) {
    return damaged(path + " is damaged: it does not have the hash that it states");
  }
  std::map<std::string, int64_t> bytes;
  try {
    found.content.at("format").get<int64_t>();
    found.content.at("step").get<int64_t>();
    found.content.at("hashes").get_to(found.hashes);
    found.content.at("bytes").get_to(bytes);
  } catch (const json::exception&) {
    return damaged(path + " is damaged: it lacks its step or the list of files");
  }
  for (const char* name : kFiles) {
    const std::string file = join(checkpoint, name);
    if (!found.hashes.contains(name) || !bytes.contains(name)) {
      return damaged(fmt::format("{} is damaged: it does not list {}", path, name));
    }
    const auto file_bytes = fs::file_size(file, failure);
    if (failure) {
      return damaged(file + " is missing");
    }
    if (static_cast<int64_t>(file_bytes) != bytes[name]) {
      return damaged(fmt::format("{} is damaged: expected {} bytes, found {}", file, bytes[name], file_bytes));
    }
  }
  return found;
}

bool is_complete(const StepDirectory& directory) {
  return inspect(directory.path).state == Inspection::State::complete;
}

// What to do about a checkpoint that cannot be used.
std::string advice(const std::string& checkpoint, Inspection::State state) {
  const std::string first =
      state == Inspection::State::foreign ? "load it with the version of dlcm that wrote it, or " : "";
  const auto step = step_of(own_name(checkpoint));
  const auto absolute = fs::absolute(fs::path(checkpoint)).lexically_normal();
  const std::string run = (absolute.has_filename() ? absolute : absolute.parent_path()).parent_path().string();
  if (step) {
    auto directories = step_directories(run);
    std::reverse(directories.begin(), directories.end());
    for (const auto& directory : directories) {
      if (directory.step < *step && is_complete(directory)) {
        return fmt::format("{}use the older checkpoint {}", first, directory.path);
      }
    }
  }
  return first + "use an older checkpoint or a copy (there is no older complete checkpoint beside it)";
}

[[noreturn]] void refuse(const std::string& checkpoint, Inspection::State state, const std::string& problem) {
  throw Error("{}; {}", problem, advice(checkpoint, state));
}

// Throws RuntimeFailure.
void remove_tree(const std::string& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) {
    throw RuntimeFailure("cannot remove {}: {}", path, failure.message());
  }
}

// Removes a checkpoint so that no reader ever finds half of it under its name.
void remove_checkpoint(const std::string& run, const StepDirectory& directory) {
  const std::string aside = join(run, std::string(kRemovingPrefix) + own_name(directory.path));
  remove_tree(aside);
  rename_synced(directory.path, aside);
  remove_tree(aside);
}

// What interrupted saves and removals left.
void remove_leftovers(const std::string& run) {
  std::vector<std::string> leftovers;
  for (const auto& entry : fs::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    for (const auto prefix : {kSavingPrefix, kRemovingPrefix}) {
      if (name.starts_with(prefix) && step_of(std::string_view(name).substr(prefix.size()))) {
        leftovers.push_back(entry.path().string());
      }
    }
  }
  for (const auto& path : leftovers) {
    remove_tree(path);
  }
}

// All but the optimiser's, which is there.
void write_files(const std::string& directory, const Checkpoint& checkpoint) {
  save_safetensors(join(directory, kModel), checkpoint.model);
  write_file_synced(join(directory, kConfig), checkpoint.config_toml);
  write_file_synced(join(directory, kTokenizer), checkpoint.tokenizer);
  json content = checkpoint.trainer;
  content["format"] = kFormat;
  content["step"] = checkpoint.step;
  content["hashes"] = json::object();
  content["bytes"] = json::object();
  for (const char* name : kFiles) {
    content["hashes"][name] = hash_file(join(directory, name));
    content["bytes"][name] = fs::file_size(join(directory, name));
  }
  write_file_synced(join(directory, kTrainer), trainer_text(std::move(content)));
}

// Gives the finished directory its name. Where a checkpoint of this step exists, the two change places in one move.
void publish(const std::string& run, const std::string& saving, const std::string& target) {
  std::error_code ignored;
  if (!fs::exists(target, ignored)) {
    rename_synced(saving, target);
    return;
  }
  if (::renameat2(AT_FDCWD, saving.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(run);
    remove_tree(saving);
    return;
  }
  // Some network file systems cannot exchange names.
  const std::string aside = join(run, std::string(kRemovingPrefix) + own_name(target));
  rename_synced(target, aside);
  rename_synced(saving, target);
  remove_tree(aside);
}

void prune(const std::string& run, const std::string& saved, int64_t keep) {
  auto directories = step_directories(run);
  std::reverse(directories.begin(), directories.end());
  int64_t num_complete = 0;
  for (const auto& directory : directories) {
    const auto state = inspect(directory.path).state;
    const bool complete = state == Inspection::State::complete;
    num_complete += complete ? 1 : 0;
    const bool superfluous = complete ? num_complete > keep && directory.path != saved
                                      : state == Inspection::State::damaged && num_complete > 0;
    if (superfluous) {
      remove_checkpoint(run, directory);
    }
  }
}

// Reads one of the small files and verifies it.
std::string load_text(const std::string& checkpoint, const char* name, const Inspection& inspection) {
  const std::string path = join(checkpoint, name);
  std::string text = read_file(path);
  if (hash_bytes(text) != inspection.hashes.at(name)) {
    refuse(checkpoint, Inspection::State::damaged, path + " is damaged: its content does not have its hash");
  }
  return text;
}

void verify_file(const std::string& checkpoint, const char* name, const Inspection& inspection) {
  const std::string path = join(checkpoint, name);
  if (hash_file(path) != inspection.hashes.at(name)) {
    refuse(checkpoint, Inspection::State::damaged, path + " is damaged: its content does not have its hash");
  }
}

SafeTensors load_tensors(const std::string& checkpoint, const char* name, const Inspection& inspection) {
  verify_file(checkpoint, name, inspection);
  return load_safetensors(join(checkpoint, name));
}

Inspection inspect_complete(const std::string& directory) {
  auto inspection = inspect(directory);
  if (inspection.state != Inspection::State::complete) refuse(directory, inspection.state, inspection.problem);
  return inspection;
}

// All but the tensors.
Checkpoint load_facts(const std::string& directory, const Inspection& inspection) {
  Checkpoint checkpoint;
  checkpoint.step = inspection.content["step"].get<int64_t>();
  checkpoint.config_toml = load_text(directory, kConfig, inspection);
  checkpoint.tokenizer = load_text(directory, kTokenizer, inspection);
  checkpoint.trainer = inspection.content;
  for (const char* key : kReservedKeys) {
    checkpoint.trainer.erase(key);
  }
  return checkpoint;
}

}  // namespace

CheckpointSave::CheckpointSave(std::string run, int64_t step)
    : run_(std::move(run)),
      saving_(join(run_, std::string(kSavingPrefix) + step_name(step))),
      target_(join(run_, step_name(step))) {
  try {
    fs::create_directories(run_);
    remove_leftovers(run_);
    fs::create_directory(saving_);
  } catch (const fs::filesystem_error& failure) {
    throw RuntimeFailure("cannot save a checkpoint in {}: {}", run_, failure.code().message());
  }
}

CheckpointSave::~CheckpointSave() {
  std::error_code ignored;
  if (!finished_) fs::remove_all(saving_, ignored);
}

std::string CheckpointSave::optimizer_path() const { return join(saving_, kOptimizer); }

std::string CheckpointSave::finish(const Checkpoint& checkpoint, int64_t keep) {
  TORCH_CHECK(keep >= 1 && target_ == join(run_, step_name(checkpoint.step)) && checkpoint.trainer.is_object(),
              "CheckpointSave: keep ", keep, ", step ", checkpoint.step, ", trainer ", checkpoint.trainer.type_name());
  try {
    write_files(saving_, checkpoint);
    publish(run_, saving_, target_);
  } catch (const fs::filesystem_error& failure) {
    throw RuntimeFailure("cannot save a checkpoint in {}: {}", run_, failure.code().message());
  }
  finished_ = true;
  prune(run_, target_, keep);
  return target_;
}

std::string save_checkpoint(const std::string& run, const Checkpoint& checkpoint, int64_t keep) {
  CheckpointSave save(run, checkpoint.step);
  save_safetensors(save.optimizer_path(), checkpoint.optimizer);
  return save.finish(checkpoint, keep);
}

std::vector<std::string> complete_checkpoints(const std::string& run) {
  std::vector<std::string> paths;
  for (const auto& directory : step_directories(run)) {
    if (is_complete(directory)) {
      paths.push_back(directory.path);
    }
  }
  return paths;
}

std::string find_checkpoint(const std::string& path) {
  std::error_code failure;
  if (!fs::is_directory(path, failure)) {
    throw Error("expected a run directory or a checkpoint, found {} at {}: check the path",
                fs::exists(path, failure) ? "a file" : "nothing", path);
  }
  if (step_of(own_name(path)) || fs::exists(join(path, kTrainer), failure)) {
    const auto inspection = inspect(path);
    if (inspection.state != Inspection::State::complete) {
      refuse(path, inspection.state, inspection.problem);
    }
    return path;
  }
  auto directories = step_directories(path);
  std::reverse(directories.begin(), directories.end());
  std::string newest_problem;
  for (const auto& directory : directories) {
    const auto inspection = inspect(directory.path);
    if (inspection.state == Inspection::State::complete) {
      return directory.path;
    }
    if (inspection.state == Inspection::State::foreign) {
      refuse(directory.path, inspection.state, inspection.problem);
    }
    if (newest_problem.empty()) {
      newest_problem = inspection.problem;
    }
  }
  if (directories.empty()) {
    throw Error("{} has no complete checkpoint: it holds no step-* directory; check the path, or train there first",
                path);
  }
  throw Error("{} has no complete checkpoint: {}; use another run or a copy", path, newest_problem);
}

Checkpoint load_checkpoint(const std::string& path, bool with_optimizer) {
  const std::string directory = find_checkpoint(path);
  const auto inspection = inspect_complete(directory);
  auto checkpoint = load_facts(directory, inspection);
  checkpoint.model = load_tensors(directory, kModel, inspection);
  if (with_optimizer) {
    checkpoint.optimizer = load_tensors(directory, kOptimizer, inspection);
  }
  return checkpoint;
}

Checkpoint load_checkpoint_facts(const std::string& path) {
  const std::string directory = find_checkpoint(path);
  const auto inspection = inspect_complete(directory);
  verify_file(directory, kModel, inspection);
  return load_facts(directory, inspection);
}

std::string optimizer_file(const std::string& path, bool verify) {
  const std::string directory = find_checkpoint(path);
  const auto inspection = inspect_complete(directory);
  if (verify) verify_file(directory, kOptimizer, inspection);
  return join(directory, kOptimizer);
}

}  // namespace dlcm
