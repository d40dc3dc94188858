// The parts of training that are arithmetic: schedule, score histogram, AdamW, and what a resume may change.
#include "dlcm/train/schedule.h"

#include "dlcm/train/gradients.h"
#include "dlcm/train/optimizer.h"
#include "dlcm/train/resume.h"
#include "dlcm/train/score_histogram.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <type_traits>

namespace dlcm {
namespace {

using ::testing::HasSubstr;

// ---- Schedule

Config schedule_config(int64_t steps, int64_t warmup, double decay, double final_fraction = 0.1) {
  Config config;
  config.train.steps = steps;
  config.schedule = {.warmup_steps = warmup, .decay_fraction = decay, .final_fraction = final_fraction};
  return config;
}

TEST(Schedule, WarmsUpHoldsAndDecays) {
  const auto config = schedule_config(100, 10, 0.2);
  EXPECT_EQ(decay_start(config), 80);
  for (int64_t step = 0; step < 100; ++step) {
    const double expected = step < 10   ? static_cast<double>(step + 1) / 10
                            : step < 80 ? 1.0
                                        : 1.0 - 0.9 * static_cast<double>(step - 79) / 20;
    EXPECT_NEAR(schedule_factor(config, step), expected, 1e-14) << step;
  }
  EXPECT_NEAR(schedule_factor(config, 99), 0.1, 1e-14);
}

TEST(Schedule, NoWarmUpBeginsAtThePeak) { EXPECT_EQ(schedule_factor(schedule_config(10, 0, 0.0), 0), 1.0); }

TEST(Schedule, NoDecayHoldsToTheEnd) {
  const auto config = schedule_config(50, 5, 0.0);
  EXPECT_EQ(decay_start(config), 50);
  for (int64_t step = 5; step < 50; ++step) EXPECT_EQ(schedule_factor(config, step), 1.0);
}

TEST(Schedule, DecayMayFillTheWholeRun) {
  const auto config = schedule_config(10, 0, 1.0, 0.0);
  EXPECT_EQ(decay_start(config), 0);
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_NEAR(schedule_factor(config, step), 1.0 - static_cast<double>(step + 1) / 10, 1e-14);
  }
}

TEST(Schedule, WarmUpLongerThanTheRunNeverReachesThePeak) {
  const auto config = schedule_config(10, 1000, 0.5, 0.0);
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_LE(schedule_factor(config, step), static_cast<double>(step + 1) / 1000);
    EXPECT_GE(schedule_factor(config, step), 0.0);
  }
}

TEST(Schedule, NeverLeavesTheUnitInterval) {
  for (const double decay : {0.0, 0.003, 0.2, 1.0}) {
    for (const int64_t warmup : {0, 1, 7, 200}) {
      const auto config = schedule_config(101, warmup, decay);
      for (int64_t step = 0; step < 105; ++step) {  // a few beyond the end
        EXPECT_GT(schedule_factor(config, step), 0.0);
        EXPECT_LE(schedule_factor(config, step), 1.0);
      }
    }
  }
}

// ---- Score histogram

TEST(ScoreHistogram, ThresholdsAreThoseOfTheSortedScores) {
  at::manual_seed(1);
  ScoreHistogram histogram;
  const auto p = at::rand({5000}, at::kDouble).pow(3);
  histogram.add(p.narrow(0, 0, 1999).to(at::kFloat));
  histogram.add(p.narrow(0, 1999, 3001));
  const auto sorted = std::get<0>(p.sort(0, /*descending=*/true));
  for (const double share : {0.0002, 0.01, 0.25, 1 / 3.3, 0.5, 0.9, 1.0}) {
    // The score below which more than `share` would be cut off.
    const auto wanted = static_cast<int64_t>(std::ceil(share * 5000 - 1e-9));
    const double exact = sorted[wanted - 1].item<double>();
    const double threshold = histogram.threshold_for(share);
    EXPECT_LE(threshold, exact + 1e-7) << share;
    EXPECT_GE(threshold, exact - 0x1p-16 - 1e-7) << share;
    EXPECT_GE(p.ge(threshold - 1e-7).to(at::kDouble).mean().item<double>(), share);
    EXPECT_NEAR(histogram.share_above(threshold), share, 3.0 / 5000);
  }
}

TEST(ScoreHistogram, CountsScoresAtTheEnds) {
  ScoreHistogram histogram;
  histogram.add(at::tensor({0.0, 0.0, 0.0, 1.0}, at::kDouble));
  EXPECT_EQ(histogram.counts().sum().item<int64_t>(), 4);
  EXPECT_EQ(histogram.share_above(0.5), 0.25);
  EXPECT_EQ(histogram.share_above(1.0), 0.25);
  EXPECT_EQ(histogram.share_above(0.0), 1.0);
  EXPECT_GT(histogram.threshold_for(0.25), 0.99);
  EXPECT_EQ(histogram.threshold_for(0.5), 0.0);
}

TEST(ScoreHistogram, LeavesOutWhatIsNotANumber) {
  ScoreHistogram histogram;
  histogram.add(at::tensor({std::nan(""), 0.75, HUGE_VAL}, at::kDouble));
  EXPECT_EQ(histogram.counts().sum().item<int64_t>(), 1);
  EXPECT_EQ(histogram.share_above(0.5), 1.0);
}

TEST(ScoreHistogram, SumsOfCountsAreTheHistogramOfAll) {
  at::manual_seed(2);
  const auto p = at::rand({400});
  ScoreHistogram all, left, right;
  all.add(p);
  left.add(p.narrow(0, 0, 150));
  right.add(p.narrow(0, 150, 250));
  left.counts().add_(right.counts());
  EXPECT_TRUE(at::equal(left.counts(), all.counts()));
}

TEST(ScoreHistogram, OfNothingHasNoShare) { EXPECT_EQ(ScoreHistogram().share_above(0.5), 0.0); }

// ---- AdamW

Config optimizer_config() {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.optimizer = {.token_rate = 0.01,
                      .concept_rate = 0.02,
                      .embedding_rate = 0.03,
                      .head_rate = 0.04,
                      .gain_rate = 0.05,
                      .beta1 = 0.8,
                      .beta2 = 0.9,
                      .epsilon = 1e-3,
                      .weight_decay = 0.5,
                      .gradient_clip = 2.0};
  config.mup.base_token_width = 4;    // s_token = 4
  config.mup.base_concept_width = 8;  // s_concept = 3
  return config;
}

TEST(AdamW, GroupsHaveTheirRates) {
  const auto config = optimizer_config();
  const auto expect = [&](ParameterRole role, double rate, double epsilon, double decay) {
    const auto group = group_settings(config, role);
    EXPECT_DOUBLE_EQ(group.rate, rate);
    EXPECT_DOUBLE_EQ(group.epsilon, epsilon);
    EXPECT_DOUBLE_EQ(group.weight_decay, decay);
  };
  expect(ParameterRole::token_matrix, 0.01 / 4, 1e-3 / 4, 0.5);
  expect(ParameterRole::concept_matrix, 0.02 / 3, 1e-3 / 3, 0.5);
  expect(ParameterRole::embedding, 0.03, 1e-3, 0.0);
  expect(ParameterRole::head, 0.04, 1e-3, 0.0);
  expect(ParameterRole::gain, 0.05, 1e-3, 0.0);
}

struct Expected {
  std::vector<double> value, first, second;
};

std::vector<double> values_of(const at::Tensor& tensor) {
  const auto flat = tensor.detach().to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

// AdamW by hand, number by number.
void update_by_hand(Expected& expected, const std::vector<double>& gradient, const GroupSettings& group,
                    const OptimizerConfig& config, double factor, double scale, int step) {
  const double rate = group.rate * factor;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double g = gradient[i] * scale;
    expected.first[i] = config.beta1 * expected.first[i] + (1 - config.beta1) * g;
    expected.second[i] = config.beta2 * expected.second[i] + (1 - config.beta2) * g * g;
    const double first = expected.first[i] / (1 - std::pow(config.beta1, step));
    const double second = expected.second[i] / (1 - std::pow(config.beta2, step));
    expected.value[i] -= rate * group.weight_decay * expected.value[i];
    expected.value[i] -= rate * first / (std::sqrt(second) + group.epsilon);
  }
}

void set_zero_gradients(LanguageModel& model) {
  for (auto& parameter : model.parameters()) parameter.mutable_grad() = at::zeros_like(parameter);
}

void set_random_gradients(LanguageModel& model, int step, double size) {
  at::manual_seed(100 + static_cast<uint64_t>(step));
  for (auto& parameter : model.parameters()) {
    parameter.mutable_grad().copy_(size * at::randn(parameter.sizes(), parameter.options().requires_grad(false)));
  }
}

TEST(AdamW, EqualsItsDefinition) {
  const auto config = optimizer_config();
  const auto model = test::double_model(config);
  SingleProcess communicator;
  Gradients gradients_of_model(*model, communicator);
  AdamW optimizer(*model, config);
  std::map<std::string, Expected> expected;
  for (const auto& entry : model->named_parameters()) {
    const std::vector<double> zeros(static_cast<size_t>(entry.value().numel()), 0.0);
    expected[entry.key()] = {values_of(entry.value()), zeros, zeros};
  }
  for (int step = 1; step <= 5; ++step) {
    set_zero_gradients(*model);
    set_random_gradients(*model, step, step == 2 ? 1e-3 : 1.0);  // the second step is not clipped
    double squares = 0.0;
    std::map<std::string, std::vector<double>> gradients;
    for (const auto& entry : model->named_parameters()) {
      gradients[entry.key()] = values_of(entry.value().grad());
      for (const double g : gradients[entry.key()]) squares += g * g;
    }
    const double norm = gradients_of_model.norm();
    EXPECT_NEAR(norm, std::sqrt(squares), 1e-10 * norm);
    EXPECT_EQ(norm > 2.0, step != 2);
    const double factor = 1.0 / step, scale = std::min(1.0, 2.0 / std::sqrt(squares));
    optimizer.update(factor, norm, gradients_of_model.values());
    for (const auto& entry : model->named_parameters()) {
      auto& wanted = expected[entry.key()];
      update_by_hand(wanted, gradients[entry.key()], group_settings(config, role_of(entry.key())), config.optimizer,
                     factor, scale, step);
      const auto wanted_tensor = at::tensor(wanted.value, at::kDouble).view(entry.value().sizes());
      EXPECT_LE(test::distance(entry.value(), wanted_tensor), 1e-12) << entry.key() << " at " << step;
    }
  }
}

TEST(AdamW, DecaysHiddenMatricesAlone) {
  const auto config = optimizer_config();
  const auto model = test::double_model(config), before = test::double_model(config);
  SingleProcess communicator;
  const Gradients gradients(*model, communicator);
  AdamW optimizer(*model, config);
  set_zero_gradients(*model);
  EXPECT_EQ(gradients.norm(), 0.0);
  optimizer.update(1.0, 0.0, gradients.values());
  for (const auto& entry : model->named_parameters()) {
    const auto role = role_of(entry.key());
    const double kept = role == ParameterRole::token_matrix     ? 1 - 0.01 / 4 * 0.5
                        : role == ParameterRole::concept_matrix ? 1 - 0.02 / 3 * 0.5
                                                                : 1.0;
    EXPECT_LE(test::distance(entry.value(), test::parameter(*before, entry.key()) * kept), 1e-14) << entry.key();
  }
}

TEST(AdamW, NormOfGradientsThatAreNotFiniteIsNotFinite) {
  const auto config = optimizer_config();
  const auto model = make_model(config);
  SingleProcess communicator;
  const Gradients gradients(*model, communicator);
  for (const double wrong : {std::nan(""), HUGE_VAL}) {
    set_zero_gradients(*model);
    test::parameter(*model, "head.weight").grad()[3][2] = wrong;
    EXPECT_FALSE(std::isfinite(gradients.norm()));
  }
}

TEST(AdamW, GoesOnFromItsState) {
  const auto config = optimizer_config();
  const auto model = make_model(config), copy = make_model(config);
  AdamW optimizer(*model, config), resumed(*copy, config);
  SingleProcess communicator;
  const auto update = [&](LanguageModel& target, AdamW& with, int step) {
    set_zero_gradients(target);
    set_random_gradients(target, step, 1.0);
    const Gradients gradients(target, communicator);
    with.update(0.7, gradients.norm(), gradients.values());
  };
  update(*model, optimizer, 1);
  update(*model, optimizer, 2);
  const test::TemporaryDirectory directory;
  create_safetensors(directory / "state", optimizer.state_shapes());
  write_slices(directory / "state", optimizer.state());
  {
    const at::NoGradGuard no_gradient;
    for (auto& entry : copy->named_parameters()) entry.value().copy_(test::parameter(*model, entry.key()));
  }
  resumed.load(MappedSafeTensors(directory / "state"));
  update(*model, optimizer, 3);
  update(*copy, resumed, 3);
  for (const auto& entry : copy->named_parameters()) {
    EXPECT_TRUE(at::equal(entry.value(), test::parameter(*model, entry.key()))) << entry.key();
  }
}

TEST(AdamW, StateOfAnotherModelIsRefused) {
  const auto config = optimizer_config();
  const auto model = make_model(config);
  AdamW optimizer(*model, config);
  const test::TemporaryDirectory directory;
  auto missing = optimizer.state_shapes();
  missing.erase("head.weight.second_moment");
  create_safetensors(directory / "missing", missing);
  EXPECT_THROW(optimizer.load(MappedSafeTensors(directory / "missing")), Error);
  auto reshaped = optimizer.state_shapes();
  reshaped["embedding.first_moment"].sizes = {3, 3};
  create_safetensors(directory / "reshaped", reshaped);
  EXPECT_THROW(optimizer.load(MappedSafeTensors(directory / "reshaped")), Error);
}

// ---- What a resume may change

// Calls change(key, field) for every leaf of a configuration.
template <typename Struct, typename Change>
void for_each_leaf(Struct& settings, const std::string& prefix, Change change) {
  Struct::fields(settings, [&](const char* name, auto& field, const char*) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_class_v<Field> && !std::is_same_v<Field, std::string>) {
      for_each_leaf(field, prefix + name + ".", change);
    } else {
      change(prefix + name, field);
    }
  });
}

Config with_changed(const Config& config, const std::string& wanted) {
  auto changed = config;
  for_each_leaf(changed, "", [&](const std::string& key, auto& field) {
    using Field = std::remove_reference_t<decltype(field)>;
    if (key != wanted) return;
    if constexpr (std::is_enum_v<Field>) {
      field = static_cast<Field>(field == Field{} ? 1 : 0);
    } else if constexpr (std::is_same_v<Field, bool>) {
      field = !field;
    } else if constexpr (std::is_same_v<Field, std::string>) {
      field += "changed";
    } else if constexpr (std::is_same_v<Field, double>) {
      field *= 0.9;
    } else {
      field += 1;
    }
  });
  return changed;
}

std::set<std::string> keys_of(const Config& config) {
  std::set<std::string> keys;
  auto copy = config;
  for_each_leaf(copy, "", [&](const std::string& key, auto&) { keys.insert(key); });
  return keys;
}

// Keys whose change is allowed after `step` of 1000 steps, the decay beginning at 800.
std::set<std::string> allowed_keys(bool calibrate, int64_t step) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.train.steps = 1000;
  config.schedule.decay_fraction = 0.2;
  config.parser.calibrate = calibrate;
  std::set<std::string> allowed;
  for (const auto& key : keys_of(config)) {
    try {
      check_resume(config, with_changed(config, key), step);
      allowed.insert(key);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  }
  return allowed;
}

const std::set<std::string> kAlwaysFree{
    "eval.every_steps",    "eval.tokens",   "checkpoint.every_steps",         "checkpoint.keep",       "data.path",
    "train.threads",       "train.workers", "train.activation_checkpointing", "train.log_every_steps", "dist.sharding",
    "dist.timeout_seconds"};

std::set<std::string> with(std::set<std::string> keys, const std::set<std::string>& more) {
  keys.insert(more.begin(), more.end());
  return keys;
}

TEST(Resume, BeforeTheDecayItsShapeMayChange) {
  const std::set<std::string> schedule{"train.steps", "schedule.decay_fraction", "schedule.final_fraction"};
  EXPECT_EQ(allowed_keys(false, 500), with(kAlwaysFree, schedule));
  EXPECT_EQ(allowed_keys(false, 800),
            with(kAlwaysFree, schedule));  // step 800, the first of the decay, is still to come
}

TEST(Resume, InTheDecayItsShapeIsFixed) { EXPECT_EQ(allowed_keys(false, 900), kAlwaysFree); }

TEST(Resume, CalibratedThresholdIsStateNotSetting) {
  EXPECT_EQ(allowed_keys(true, 900), with(kAlwaysFree, {"parser.threshold"}));
}

// What the refusal says; empty where the run may go on.
std::string refusal(const Config& stored, const Config& asked, int64_t step) {
  try {
    check_resume(stored, asked, step);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Resume, NewScheduleMustNotHaveBegunItsDecayEither) {
  auto stored = schedule_config(1000, 10, 0.2), asked = stored;
  asked.train.steps = 500;  // would decay from 400
  EXPECT_EQ(refusal(stored, asked, 400), "");
  EXPECT_THAT(refusal(stored, asked, 401), HasSubstr("train.steps"));
  EXPECT_THAT(refusal(stored, asked, 600), HasSubstr("train.steps"));
  EXPECT_THAT(refusal(asked, stored, 401), HasSubstr("train.steps"));
}

TEST(Resume, RunWithoutDecayMayBeMadeLonger) {
  auto stored = schedule_config(1000, 10, 0.0), asked = stored;
  asked.train.steps = 2000;
  asked.schedule.decay_fraction = 0.5;
  EXPECT_EQ(refusal(stored, asked, 1000), "");
}

TEST(Resume, UnchangedConfigurationIsAlwaysAllowed) {
  const auto config = test::random_model_config(ModelKind::dlcm);
  for (const int64_t step : {0, 500, 1000, 5000}) EXPECT_EQ(refusal(config, config, step), "") << step;
}

TEST(Resume, EveryChangedKeyIsNamed) {
  const auto stored = schedule_config(1000, 10, 0.2);
  auto asked = stored;
  asked.train.seed = 9;
  asked.model.rope_theta = 500.0;
  try {
    check_resume(stored, asked, 5);
    FAIL() << "not refused";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("train.seed (1 before, 9 now)"), std::string::npos) << message;
    EXPECT_NE(message.find("model.rope_theta"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace dlcm
