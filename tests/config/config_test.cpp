// Reading, checking and printing configurations.
#include "dlcm/config/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <type_traits>

namespace dlcm {
namespace {

// What parse_config says about a text that it must refuse.
std::string refusal(const std::string& toml, const std::vector<std::string>& settings = {}) {
  try {
    parse_config(toml, "file.toml", settings);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    return error.what();
  }
  return "no refusal";
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct TemporaryFile {
  explicit TemporaryFile(const std::string& content) { std::ofstream(path, std::ios::binary) << content; }
  ~TemporaryFile() { std::filesystem::remove(path); }
  std::string path = testing::TempDir() + "dlcm_config_test_" + std::to_string(std::random_device{}()) + ".toml";
};

// Draws a value that check_config accepts for fields with no relation to others; leaves the rest as they are.
template <typename Table>
void randomize(Table& table, std::mt19937_64& generator) {
  Table::fields(table, [&](std::string_view key, auto& field, std::string_view) {
    using Field = std::decay_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, bool>) {
      field = generator() % 2 == 0;
    } else if constexpr (std::is_same_v<Field, std::string>) {
      const std::string_view letters = "a/.\\\"'#= \n\x01\x7f\xc3\xa4";
      field.clear();
      for (auto left = generator() % 8; left > 0; --left) {
        const auto place = generator() % (letters.size() - 1);
        field += letters.substr(place, place == letters.size() - 2 ? 2 : 1);
      }
    } else if constexpr (std::is_enum_v<Field>) {
      if (key == "kind" || key == "gradient") return;
      field = static_cast<Field>(generator() % EnumNames<Field>::value.size());
    } else if constexpr (std::is_same_v<Field, double>) {
      field = std::uniform_real_distribution<double>(0.0, 0.999)(generator);
      if (key == "ratio" || key == "rope_theta") field = 1.0 / field;
      if (key == "temperature") field += 0.1;
      if (key == "timeout_seconds") field += 0.5;
    } else if constexpr (std::is_same_v<Field, int64_t>) {
      if (key == "seed") field = static_cast<int64_t>(generator() >> 3);
      if (key == "steps" || key == "every_steps") field = static_cast<int64_t>(1 + generator() % (1ULL << 40));
      if (key == "vocabulary" || key == "min_length" || key == "attention_window")
        field = static_cast<int64_t>(1 + generator() % 100000);
    } else {
      randomize(field, generator);
    }
  });
}

TEST(Config, EveryFieldSurvivesPrintingAndReading) {
  std::mt19937_64 generator(7);
  for (int i = 0; i < 200; ++i) {
    Config config;
    config.model.token.encoder_layers = i % 5;
    randomize(config, generator);
    if (config.parser.entropy.model.empty()) config.parser.entropy.model = "run";  // the entropy rule needs one
    const auto text = to_toml(config);
    const auto again = parse_config(text, "printed");
    EXPECT_EQ(to_toml(again), text);
    EXPECT_EQ(again.train.seed, config.train.seed);
    EXPECT_EQ(again.data.path, config.data.path);
    EXPECT_EQ(again.parser.ratio, config.parser.ratio);
    EXPECT_EQ(again.parser.rule, config.parser.rule);
    EXPECT_EQ(again.parser.calibrate, config.parser.calibrate);
    EXPECT_EQ(again.model.vocabulary, config.model.vocabulary);
    EXPECT_EQ(again.optimizer.epsilon, config.optimizer.epsilon);
    EXPECT_EQ(again.parser.entropy.model, config.parser.entropy.model);
  }
}

TEST(Config, EmptyFileGivesTheDefaults) {
  const TemporaryFile file("");
  EXPECT_EQ(to_toml(load_config(file.path)), to_toml(Config{}));
}

TEST(Config, NestedTablesAreRead) {
  const auto config = parse_config(
      "[model]\nvocabulary = 300\n[model.concept]\nlayers = 3\n[parser]\nrule = \"stride\"\n", "file.toml");
  EXPECT_EQ(config.model.vocabulary, 300);
  EXPECT_EQ(config.model.concepts.layers, 3);
  EXPECT_EQ(config.parser.rule, BoundaryRule::stride);
}

TEST(Config, UnknownKeyNamesFileLineAndNearestKey) {
  EXPECT_EQ(refusal("[train]\nseed = 2\nstep = 120\n"),
            "file.toml:3: unknown key train.step; the nearest known one is train.steps");
  EXPECT_EQ(refusal("[traim]\nsteps = 120\n"), "file.toml:1: unknown key traim; the nearest known one is train");
  EXPECT_EQ(refusal("[model.concepts]\nlayers = 1\n"),
            "file.toml:1: unknown key model.concepts; the nearest known one is model.concept");
}

TEST(Config, WrongTypeNamesFileLineAndWhatWasExpected) {
  EXPECT_EQ(refusal("[train]\nsteps = \"many\"\n"), "file.toml:2: train.steps expects a whole number, found 'many'");
  EXPECT_EQ(refusal("[train]\nsteps = 4.0\n"), "file.toml:2: train.steps expects a whole number, found 4.0");
  EXPECT_EQ(refusal("[train]\nsteps = true\n"), "file.toml:2: train.steps expects a whole number, found true");
  EXPECT_EQ(refusal("[train]\nsteps = [1]\n"), "file.toml:2: train.steps expects a whole number, found an array");
  EXPECT_EQ(refusal("[train.steps]\na = 1\n"), "file.toml:1: train.steps expects a whole number, found a table");
  EXPECT_EQ(refusal("[parser]\nratio = \"4\"\n"), "file.toml:2: parser.ratio expects a finite number, found '4'");
  EXPECT_EQ(refusal("[parser]\nratio = nan\n"), "file.toml:2: parser.ratio expects a finite number, found nan");
  EXPECT_EQ(refusal("[parser]\ncalibrate = 1\n"), "file.toml:2: parser.calibrate expects true or false, found 1");
  EXPECT_EQ(refusal("[parser]\nscope = \"local\"\n"),
            "file.toml:2: parser.scope expects one of global, sequence, found 'local'");
  EXPECT_EQ(refusal("[data]\npath = 3\n"), "file.toml:2: data.path expects text in quotes, found 3");
  EXPECT_EQ(refusal("train = 3\n"), "file.toml:1: train expects a table, found 3");
}

TEST(Config, WholeNumbersAreNumbers) {
  EXPECT_EQ(parse_config("[parser]\nratio = 8\n", "file.toml").parser.ratio, 8.0);
  EXPECT_EQ(parse_config("", "file.toml", {"parser.ratio=2"}).parser.ratio, 2.0);
}

TEST(Config, SettingsReachEveryTypeAndTable) {
  const auto config =
      parse_config("[train]\nsteps = 5\n", "file.toml",
                   {"train.steps=120", "parser.rule=stride", "parser.scope=\"sequence\"", "parser.ratio=2",
                    "parser.calibrate=false", "optimizer.epsilon=1e-9", "model.concept.layers=0",
                    "train.precision=auto", "eval.every_steps=0", "data.path=../a folder/x.toml"});
  EXPECT_EQ(config.data.path, "../a folder/x.toml");
  for (const std::string path : {"/tmp/data", "./data", "data", "a\\b\"c"}) {
    EXPECT_EQ(parse_config("", "file.toml", {"data.path=" + path}).data.path, path);
  }
  EXPECT_EQ(config.train.steps, 120);
  EXPECT_EQ(config.parser.rule, BoundaryRule::stride);
  EXPECT_EQ(config.parser.scope, ParserScope::sequence);
  EXPECT_EQ(config.parser.ratio, 2.0);
  EXPECT_FALSE(config.parser.calibrate);
  EXPECT_EQ(config.optimizer.epsilon, 1e-9);
  EXPECT_EQ(config.model.concepts.layers, 0);
  EXPECT_EQ(config.train.precision, Precision::automatic);
  EXPECT_EQ(config.eval.every_steps, 0);
}

TEST(Config, EveryEntryCanBeSet) {
  for (const auto& entry : config_entries(Config{})) {
    EXPECT_EQ(to_toml(parse_config("", "file.toml", {entry.key + "=" + entry.value})), to_toml(Config{})) << entry.key;
  }
}

TEST(Config, LastOfEqualSettingsWins) {
  EXPECT_EQ(parse_config("", "file.toml", {"train.steps=1", "train.steps=2"}).train.steps, 2);
  EXPECT_EQ(parse_config("", "file.toml", {"train.steps=2", "train.steps=1"}).train.steps, 1);
}

TEST(Config, WrongSettingIsNamed) {
  EXPECT_EQ(refusal("", {"train.step=120"}),
            "--set train.step=120: unknown key train.step; the nearest known one is train.steps");
  EXPECT_EQ(refusal("", {"train.steps=120.0"}),
            "--set train.steps=120.0: train.steps expects a whole number, found 120.0");
  EXPECT_EQ(
      refusal("", {"parser.rule=strid"}),
      "--set parser.rule=strid: parser.rule expects one of learned, cosine, stride, random, whitespace, entropy, found "
      "'strid'");
  for (const std::string setting : {"train.steps", "=3", "train.steps=", "# train.steps=3", "[train]\nsteps=3",
                                    "train.steps=3\ntrain.seed=4", ""}) {
    EXPECT_EQ(refusal("", {setting}), "--set expects KEY=VALUE such as train.steps=120, found \"" + setting + "\"");
  }
  EXPECT_NE(refusal("", {"train.steps=3 4"}).find("--set train.steps=3 4: not valid TOML"), std::string::npos);
  EXPECT_NE(refusal("", {"train..steps=3"}).find("--set train..steps=3: not valid TOML"), std::string::npos);
}

TEST(Config, SizesThatDoNotFitAreRefusedWhereTheyWereSet) {
  EXPECT_EQ(refusal("[model.token]\nheads = 3\n"),
            "file.toml:2: model.token.width = 128 is not divisible by model.token.heads = 3: choose a width that is a "
            "multiple of the heads");
  EXPECT_EQ(refusal("[model.token]\nwidth = 12\nheads = 4\n"),
            "file.toml:3: model.token.width / model.token.heads = 3 must be even for rotary positions: change "
            "model.token.heads");
  EXPECT_EQ(
      refusal("[model.concept]\n\nkv_heads = 3\n"),
      "file.toml:3: model.concept.heads = 8 is not divisible by model.concept.kv_heads = 3: query heads share key "
      "heads in equal groups");
  EXPECT_EQ(refusal("[parser]\nratio = 1\n"),
            "file.toml:2: parser.ratio expects more than 1 token per concept (at most 65536), found 1");
  EXPECT_EQ(refusal("", {"parser.ratio=0.5"}),
            "--set parser.ratio=0.5: parser.ratio expects more than 1 token per concept (at most 65536), found 0.5");
  EXPECT_EQ(refusal("[train]\ncontext = 500\n"),
            "file.toml:2: train.micro_batch_tokens = 4096 is not a multiple of train.context = 500: micro-batches take "
            "whole windows");
  EXPECT_EQ(refusal("[train]\ntokens_per_step = 5000\n"),
            "file.toml:2: train.tokens_per_step = 5000 is not a multiple of train.micro_batch_tokens = 4096: a step "
            "takes whole micro-batches");
  EXPECT_EQ(refusal("[train]\nsteps = 0\n"),
            "file.toml:2: train.steps expects a whole number from 1 to 1099511627776, found 0");
  EXPECT_EQ(refusal("[optimizer]\nbeta1 = 1\n"),
            "file.toml:2: optimizer.beta1 expects a number from 0 to 0.999999, found 1");
  EXPECT_EQ(refusal("[parser]\ngradient = \"smoothing\"\n"),
            "file.toml:2: parser.gradient = \"smoothing\" needs smoothing.kind = \"moving_average\": the identity has "
            "no gate");
  EXPECT_EQ(refusal("[model]\nkind = \"llama\"\n"),
            "file.toml: model.token.layers expects a whole number from 1 to 4096, found 0");
  EXPECT_EQ(refusal("[model]\nkind = \"llama\"\n[model.token]\nlayers = 2\nencoder_layers = 1\n"),
            "file.toml:5: model.token.encoder_layers and decoder_layers belong to kind = \"dlcm\": for llama set "
            "model.token.layers");
  EXPECT_EQ(refusal("[model.token]\nlayers = 2\n"),
            "file.toml:2: model.token.layers belongs to kind = \"llama\": for dlcm set encoder_layers and "
            "decoder_layers");
}

TEST(Config, NegativeAndHugeSizesAreRefused) {
  for (const auto* key : {"model.token.width", "model.token.heads", "model.token.kv_heads", "model.token.feed_forward",
                          "model.concept.width", "model.concept.layers", "train.context", "train.micro_batch_tokens"}) {
    EXPECT_NE(refusal("", {fmt::format("{}=-4", key)}).find("expects a whole number from"), std::string::npos) << key;
    EXPECT_NE(refusal("", {fmt::format("{}=4000000000000000000", key)}).find("expects a whole number from"),
              std::string::npos)
        << key;
  }
}

TEST(Config, WhatIsNotTomlIsRefusedWithItsLine) {
  EXPECT_NE(refusal("[train]\nsteps = \n").find("file.toml:2: not valid TOML: "), std::string::npos);
  EXPECT_NE(refusal("[train]\nsteps = 1\nsteps = 2\n").find("file.toml:3: not valid TOML: "), std::string::npos);
  EXPECT_NE(refusal("[train]\nsteps = \"\xff\xfe\"\n").find("file.toml:2: not valid TOML: "), std::string::npos);
  EXPECT_NE(refusal(std::string("\0\1\2", 3)).find("file.toml:1: not valid TOML: "), std::string::npos);
}

TEST(Config, UnreadableFilesAreRefused) {
  for (const auto& path : {testing::TempDir() + "no-such-file.toml", testing::TempDir()}) {
    try {
      load_config(path);
      FAIL() << path;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "cannot read the configuration " + path + ": give the path of a TOML file such as configs/small.toml");
    }
  }
  const TemporaryFile large(std::string((1 << 20) + 1, '#'));
  EXPECT_THROW(load_config(large.path), Error);
}

TEST(Config, DefaultsResolve) {
  Config config;
  EXPECT_EQ(config.scan_width(), 64);
  EXPECT_EQ(config.token_multiplier(), 1.0);
  EXPECT_EQ(config.concept_multiplier(), 1.0);
  config.parser.scan_width = 32;
  config.mup.base_token_width = 64;
  config.mup.base_concept_width = 64;
  EXPECT_EQ(config.scan_width(), 32);
  EXPECT_EQ(config.token_multiplier(), 2.0);
  EXPECT_EQ(config.concept_multiplier(), 4.0);
}

TEST(Config, EveryShippedConfigurationLoads) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(DLCM_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    const auto config = load_config(entry.path().string());
    EXPECT_EQ(to_toml(parse_config(to_toml(config), "its own print")), to_toml(config)) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 10);
}

TEST(ConfigurationPage, IsWhatTheFieldsSay) {
  const std::string path = DLCM_SOURCE_DIR "/docs/configuration.md";
  if (std::getenv("DLCM_WRITE_DOCS") != nullptr) std::ofstream(path, std::ios::binary) << config_markdown();
  EXPECT_EQ(read_file(path), config_markdown()) << "docs/configuration.md is stale; it says how to write it again";
}

}  // namespace
}  // namespace dlcm
