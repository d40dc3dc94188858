// Checkpoints: round trip, refusal of every damage, pruning, what interrupted saves leave, a full disk.
#include "dlcm/io/checkpoint_store.h"

#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <limits>
#include <set>

namespace dlcm {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::overwrite;
using test::TemporaryDirectory;

const std::vector<std::string> kFiles{"model.safetensors", "optimizer.safetensors", "config.toml", "tokenizer",
                                      "trainer.json"};

Checkpoint sample(int64_t step) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.model.tensors["weight"] = at::arange(step, step + 3, at::kFloat);
  checkpoint.optimizer.tensors["weight.first_moment"] = at::arange(step, step + 2, at::kDouble);
  checkpoint.config_toml = "[train]\nsteps = 7\n";
  checkpoint.tokenizer = std::string("\0\xff tokens", 9);
  checkpoint.trainer = {{"tokens", int64_t{1} << 53}, {"threshold", 0.1}, {"data", {{"shard", 3}}}};
  return checkpoint;
}

std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

using Names = std::set<std::string>;

TEST(CheckpointStore, LoadGivesWhatSaveTook) {
  const TemporaryDirectory directory;
  const std::string run = directory / "run";
  const auto saved = sample(1000);
  const std::string path = save_checkpoint(run, saved, 2);
  EXPECT_EQ(path, run + "/step-00001000");
  EXPECT_EQ(names_in(path), Names(kFiles.begin(), kFiles.end()));
  for (const auto& place : {run, path, path + "/"}) {
    const auto loaded = load_checkpoint(place, /*with_optimizer=*/true);
    EXPECT_EQ(loaded.step, 1000);
    EXPECT_EQ(loaded.config_toml, saved.config_toml);
    EXPECT_EQ(loaded.tokenizer, saved.tokenizer);
    EXPECT_TRUE(at::equal(loaded.model.tensors.at("weight"), saved.model.tensors.at("weight")));
    EXPECT_TRUE(at::equal(loaded.optimizer.tensors.at("weight.first_moment"),
                          saved.optimizer.tensors.at("weight.first_moment")));
    auto trainer = saved.trainer;
    trainer["step"] = 1000;
    EXPECT_EQ(loaded.trainer, trainer);
  }
  EXPECT_TRUE(load_checkpoint(run, /*with_optimizer=*/false).optimizer.tensors.empty());
  const auto facts = load_checkpoint_facts(run);
  EXPECT_TRUE(facts.model.tensors.empty());
  EXPECT_EQ(facts.step, 1000);
  EXPECT_EQ(facts.config_toml, saved.config_toml);
  EXPECT_EQ(facts.tokenizer, saved.tokenizer);
}

TEST(CheckpointStore, TrainerJsonListsTheHashesOfTheOthers) {
  const TemporaryDirectory directory;
  const std::string path = save_checkpoint(directory.path(), sample(5), 1);
  const auto trainer = nlohmann::json::parse(read_file(path + "/trainer.json"));
  EXPECT_EQ(trainer["format"], 1);
  EXPECT_EQ(trainer["step"], 5);
  EXPECT_EQ(trainer["hashes"].size(), 4u);
  for (const auto& [name, hash] : trainer["hashes"].items()) {
    EXPECT_EQ(hash, hash_file(path + "/" + name)) << name;
    EXPECT_EQ(trainer["bytes"][name], fs::file_size(path + "/" + name)) << name;
  }
}

TEST(CheckpointStore, CopyUnderAnotherNameLoads) {
  const TemporaryDirectory directory;
  const std::string path = save_checkpoint(directory / "run", sample(5), 1);
  fs::copy(path, directory / "best");
  EXPECT_EQ(load_checkpoint(directory / "best", true).step, 5);
}

TEST(CheckpointStore, EveryCutOfEveryFileIsRefusedAndNamesFileAndOlderCheckpoint) {
  const TemporaryDirectory directory;
  const std::string older = save_checkpoint(directory.path(), sample(100), 9);
  const std::string path = save_checkpoint(directory.path(), sample(200), 9);
  for (const auto& name : kFiles) {
    const std::string file = path + "/" + name;
    const std::string content = read_file(file);
    for (size_t length = 0; length <= content.size() + 1; ++length) {
      if (length == content.size()) {
        continue;
      }
      overwrite(file, (content + "x").substr(0, length));
      const std::string text = message_of<Error>([&] { load_checkpoint(path, true); });
      ASSERT_NE(text.find(file), std::string::npos) << name << " cut to " << length << ": " << text;
      ASSERT_NE(text.find("use the older checkpoint " + older), std::string::npos) << text;
      ASSERT_EQ(find_checkpoint(directory.path()), older);
    }
    fs::remove(file);
    EXPECT_NE(message_of<Error>([&] { load_checkpoint(path, true); }).find(file + " is missing"), std::string::npos);
    EXPECT_EQ(find_checkpoint(directory.path()), older);
    overwrite(file, content);
    EXPECT_EQ(find_checkpoint(directory.path()), path);
  }
}

TEST(CheckpointStore, EveryFlippedByteOfEveryFileIsRefused) {
  const TemporaryDirectory directory;
  const std::string older = save_checkpoint(directory.path(), sample(100), 9);
  const std::string path = save_checkpoint(directory.path(), sample(200), 9);
  for (const auto& name : kFiles) {
    const std::string file = path + "/" + name;
    const std::string content = read_file(file);
    for (size_t place = 0; place < content.size(); ++place) {
      for (const int mask : {0x01, 0x20, 0x80, 0xff}) {
        std::string flipped = content;
        flipped[place] = static_cast<char>(flipped[place] ^ mask);
        overwrite(file, flipped);
        const std::string text = message_of<Error>([&] { load_checkpoint(path, true); });
        if (name != "optimizer.safetensors") {
          ASSERT_EQ(message_of<Error>([&] { load_checkpoint_facts(path); }), text);
        }
        ASSERT_NE(text.find(file), std::string::npos) << name << " flipped at " << place << ": " << text;
        ASSERT_NE(text.find(older), std::string::npos) << text;
      }
    }
    overwrite(file, content);
  }
  EXPECT_EQ(load_checkpoint(path, true).step, 200);
}

TEST(CheckpointStore, OnlyCheckpointOfARunIsRefusedWithoutNamingAnotherOne) {
  const TemporaryDirectory directory;
  const std::string path = save_checkpoint(directory.path(), sample(1), 1);
  std::string content = read_file(path + "/config.toml");
  content[2] = 'x';
  overwrite(path + "/config.toml", content);
  const std::string text = message_of<Error>([&] { load_checkpoint(directory.path(), true); });
  EXPECT_NE(text.find("config.toml is damaged"), std::string::npos) << text;
  EXPECT_NE(text.find("no older complete checkpoint"), std::string::npos) << text;
}

TEST(CheckpointStore, ForeignFormatSaysWhatToDoAndIsNeverRemoved) {
  const TemporaryDirectory directory;
  const std::string foreign = save_checkpoint(directory.path(), sample(1), 1);
  overwrite(foreign + "/trainer.json", R"({"format": 2, "anything": []})");
  for (const auto& place : {foreign, directory.path()}) {
    const std::string text = message_of<Error>([&] { load_checkpoint(place, true); });
    EXPECT_NE(text.find("format 2"), std::string::npos) << text;
    EXPECT_NE(text.find("the version of dlcm that wrote it"), std::string::npos) << text;
  }
  save_checkpoint(directory.path(), sample(2), 1);
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000001", "step-00000002"}));
}

TEST(CheckpointStore, FindSaysWhatItFound) {
  const TemporaryDirectory directory;
  const auto find = [&](const std::string& path) { return message_of<Error>([&] { find_checkpoint(path); }); };
  EXPECT_NE(find(directory / "nowhere").find("found nothing"), std::string::npos);
  overwrite(directory / "file", "x");
  EXPECT_NE(find(directory / "file").find("found a file"), std::string::npos);
  EXPECT_NE(find(directory.path()).find("has no complete checkpoint: it holds no step-"), std::string::npos);
  fs::create_directories(directory / "step-00000007");
  EXPECT_NE(find(directory.path()).find("has no complete checkpoint: "), std::string::npos);
  EXPECT_NE(find(directory.path()).find("step-00000007/trainer.json is missing"), std::string::npos);
  EXPECT_NE(find(directory / "step-00000007").find("trainer.json is missing"), std::string::npos);
}

TEST(CheckpointStore, NewestIsTheLargestStepAlsoBeyondEightDigits) {
  const TemporaryDirectory directory;
  save_checkpoint(directory.path(), sample(99999999), 9);
  const std::string newest = save_checkpoint(directory.path(), sample(100000000), 9);
  save_checkpoint(directory.path(), sample(200), 9);
  EXPECT_EQ(find_checkpoint(directory.path()), newest);
  EXPECT_EQ(complete_checkpoints(directory.path()),
            (std::vector<std::string>{directory / "step-00000200", directory / "step-99999999", newest}));
}

TEST(CheckpointStore, PruningKeepsTheNewestOnesAndTheOneJustSaved) {
  const TemporaryDirectory directory;
  for (const int64_t step : {10, 20, 30, 40}) {
    save_checkpoint(directory.path(), sample(step), 2);
  }
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000030", "step-00000040"}));
  save_checkpoint(directory.path(), sample(5), 1);
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000005", "step-00000040"}));
}

TEST(CheckpointStore, LeftoversOfInterruptedSavesAreRemovedAndOtherFilesAreNot) {
  const TemporaryDirectory directory;
  for (const auto* name : {".saving-step-00000020", ".removing-step-00000010", "step-00000015", "step-00000035",
                           "step-1", ".saving-notes", "notes"}) {
    fs::create_directories(directory / name);
    overwrite(directory / name + "/model.safetensors", "half");
  }
  save_checkpoint(directory.path(), sample(30), 2);
  // What is newer than the newest complete checkpoint may be wanted yet.
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000030", "step-00000035", "step-1", ".saving-notes", "notes"}));
}

TEST(CheckpointStore, SavingAStepAgainReplacesIt) {
  const TemporaryDirectory directory;
  save_checkpoint(directory.path(), sample(30), 2);
  auto other = sample(30);
  other.config_toml = "changed";
  save_checkpoint(directory.path(), other, 2);
  EXPECT_EQ(load_checkpoint(directory.path(), true).config_toml, "changed");
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000030"}));
}

TEST(CheckpointStore, NumbersOfTheTrainerComeBackExactly) {
  const TemporaryDirectory directory;
  auto saved = sample(1);
  saved.trainer["largest"] = std::numeric_limits<int64_t>::max();
  saved.trainer["seed"] = std::numeric_limits<uint64_t>::max();
  saved.trainer["third"] = 1.0 / 3.0;
  saved.trainer["tiny"] = std::numeric_limits<double>::denorm_min();
  saved.trainer["path"] = "not \xff UTF-8";
  save_checkpoint(directory.path(), saved, 1);
  const auto loaded = load_checkpoint(directory.path(), true).trainer;
  for (const auto* key : {"largest", "seed", "third", "tiny"}) {
    EXPECT_EQ(loaded[key], saved.trainer[key]) << key;
  }
}

// The child's disk is full behind 64 KiB of a file, which model.safetensors exceeds.
TEST(CheckpointStore, FullDiskLeavesTheOlderCheckpointsAndNothingElse) {
  const TemporaryDirectory directory;
  const std::string older = save_checkpoint(directory.path(), sample(10), 1);
  auto large = sample(20);
  large.model.tensors["weight"] = at::zeros({1 << 16}, at::kFloat);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 16, 1 << 16};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) {
      ::_exit(3);
    }
    try {
      save_checkpoint(directory.path(), large, 1);
    } catch (const RuntimeFailure& failure) {
      const std::string text = failure.what();
      ::_exit(text.find("model.safetensors: File too large") != std::string::npos ? 0 : 4);
    }
    ::_exit(5);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(names_in(directory.path()), (Names{"step-00000010"}));
  EXPECT_EQ(load_checkpoint(directory.path(), true).step, 10);
}

TEST(CheckpointStore, ASaveThatIsNotFinishedLeavesNothing) {
  const TemporaryDirectory directory;
  const std::string run = directory / "run";
  save_checkpoint(run, sample(10), 2);
  {
    const CheckpointSave save(run, 20);
    save_safetensors(save.optimizer_path(), sample(20).optimizer);
  }
  EXPECT_EQ(names_in(run), (Names{"step-00000010"}));
  CheckpointSave save(run, 20);
  save_safetensors(save.optimizer_path(), sample(20).optimizer);
  const auto path = save.finish(sample(20), 2);
  EXPECT_EQ(load_checkpoint(run, true).step, 20);
  EXPECT_EQ(optimizer_file(run, /*verify=*/true), path + "/optimizer.safetensors");
  auto damaged = read_file(path + "/optimizer.safetensors");
  damaged.back() = static_cast<char>(damaged.back() + 1);
  overwrite(path + "/optimizer.safetensors", damaged);
  EXPECT_NE(message_of<Error>([&] { optimizer_file(path, true); }).find("optimizer.safetensors is damaged"),
            std::string::npos);
  EXPECT_EQ(optimizer_file(path, /*verify=*/false), path + "/optimizer.safetensors");
}

}  // namespace
}  // namespace dlcm
