// The run: what is decided before the first step, the loop, and what a stop leaves behind. Everything that a resume
// needs is in the checkpoint; the data and the draws are functions of the step alone.
#include "dlcm/train/trainer.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/event_file.h"
#include "dlcm/io/files.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/resume.h"
#include "dlcm/train/run.h"
#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"
#include "dlcm/util/stop_signal.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <ctime>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What changes while training, besides weights and moments; trainer.json holds it.
struct Progress {
  int64_t step = 0;
  double seconds = 0.0;            // of all sessions of the run
  double running_threshold = 0.5;  // running estimate of the (1 - 1/R) quantile of p
  int64_t calibrations = 0;        // steps that have moved it
  int64_t skipped_steps = 0;       // in all
  int64_t skipped_in_a_row = 0;
  std::vector<double> boundary_quantiles;  // of p in the last validation: 0 %, 1 %, ... 100 %
};

nlohmann::json to_json(const Progress& progress, const Config& config, const std::string& data_hash,
                       const nlohmann::json& epochs) {
  return {{"tokens", progress.step * config.train.tokens_per_step},
          {"data_position", progress.step * config.train.tokens_per_step},
          {"epochs", epochs},
          {"seconds", progress.seconds},
          {"seed", config.train.seed},
          {"data_hash", data_hash},
          {"running_threshold", progress.running_threshold},
          {"calibrations", progress.calibrations},
          {"skipped_steps", progress.skipped_steps},
          {"skipped_in_a_row", progress.skipped_in_a_row},
          {"boundary_quantiles", progress.boundary_quantiles}};
}

Progress progress_from(const Checkpoint& checkpoint) {
  try {
    const auto& trainer = checkpoint.trainer;
    return {.step = checkpoint.step,
            .seconds = trainer.at("seconds").get<double>(),
            .running_threshold = trainer.at("running_threshold").get<double>(),
            .calibrations = trainer.at("calibrations").get<int64_t>(),
            .skipped_steps = trainer.at("skipped_steps").get<int64_t>(),
            .skipped_in_a_row = trainer.at("skipped_in_a_row").get<int64_t>(),
            .boundary_quantiles = trainer.at("boundary_quantiles").get<std::vector<double>>()};
  } catch (const nlohmann::json::exception& error) {
    throw Error(
        "the checkpoint of step {} lacks what a training needs to go on ({}): another version of dlcm wrote it; "
        "resume with that version, or start a new run",
        checkpoint.step, error.what());
  }
}

// The running estimate follows the steps: the mean of the first, then an average over about 10. It says what the next
// step's ratio at a threshold would be; what is stored and evaluated is measured afresh, for it may not lag behind.
constexpr double kSmallestCalibrationRate = 0.1;

class Run {
 public:
  explicit Run(const TrainingRequest& request)
      : data_(request.data, Split::train),
        config_(resolve_config(request.config, data_)),
        output_(request.output) {
    // Where the directory is there, who else trains in it is the first question; else nothing is made before all is
    // well.
    if (std::filesystem::exists(output_)) lock_.emplace(output_);
    prepare_start(request);
    validation_ = validation_batches(Mixture(request.data, Split::valid), config_.train.context,
                                     config_.train.micro_batch_tokens, config_.eval.tokens);
    load_weights();
    windows_.emplace(data_, config_.train.seed, config_.train.context);
    if (!lock_) lock_.emplace(output_);
  }

  TrainingResult run();

 private:
  void prepare_start(const TrainingRequest& request);
  void load_weights();
  void follow(const StepMeasurements& measured);
  void calibrate();
  void log_step(const StepReport& report, double seconds);
  void validate();
  void save();
  // The threshold that a step's own ratio_eval is taken at.
  double step_threshold() const {
    return config_.parser.calibrate ? progress_.running_threshold : config_.parser.threshold;
  }
  nlohmann::json epochs() const;
  double trained_seconds() const { return progress_.seconds + seconds_since(start_); }

  Mixture data_;
  Config config_;
  std::string output_;
  std::optional<RunLock> lock_;
  std::optional<Checkpoint> origin_;  // what weights and moments come from
  bool fresh_data_ = false;           // origin_ gives its weights only: the data are others
  std::optional<MixedWindows> windows_;
  std::vector<Batch> validation_;
  SingleProcess communicator_;
  std::optional<WorkerThreads> workers_;
  std::shared_ptr<LanguageModel> model_;
  std::optional<AdamW> optimizer_;
  Progress progress_;
  double peak_ = 0.0;
  Clock::time_point start_;
  std::optional<MetricsLog> metrics_;
  std::optional<EventFile> events_;
  std::optional<ProgressLine> line_;
  int64_t saved_step_ = -1, validated_step_ = -1, calibrated_step_ = -1;
};

// Decides where the run starts and refuses what cannot be, before anything is written.
void Run::prepare_start(const TrainingRequest& request) {
  const bool has_checkpoint = std::filesystem::exists(output_) && !complete_checkpoints(output_).empty();
  if (request.resume && request.from)
    throw Error("--resume and --from exclude each other: one continues a run, the other starts one");
  if (has_checkpoint && !request.resume) {
    throw Error("{} already holds a training: add --resume to go on with it, or choose another --output", output_);
  }
  if (request.from) origin_ = load_checkpoint(find_checkpoint(*request.from), /*with_optimizer=*/true);
  if (request.resume && has_checkpoint) origin_ = load_checkpoint(find_checkpoint(output_), /*with_optimizer=*/true);
  if (!origin_) return;
  const auto stored = parse_config(origin_->config_toml, "the checkpoint's config.toml");
  if (origin_->tokenizer != data_.tokenizer()->serialized()) {
    throw Error(
        "the data in {} were made with another tokenizer than the checkpoint's: build them with the tokenizer "
        "file inside the checkpoint",
        request.data);
  }
  progress_ = progress_from(*origin_);
  if (request.config.train.precision == Precision::automatic) config_.train.precision = stored.train.precision;
  if (config_.parser.calibrate) config_.parser.threshold = stored.parser.threshold;
  fresh_data_ = origin_->trainer.value("data_hash", "") != data_.hash();
  if (request.resume) {
    if (fresh_data_) {
      throw Error(
          "the data in {} are not those that {} was trained on: give the same directory, or start a new run with "
          "--from",
          request.data, output_);
    }
    check_resume(stored, config_, progress_.step);
  } else if (fresh_data_) {
    progress_ = {.boundary_quantiles = progress_.boundary_quantiles};
  }
  if (progress_.step > config_.train.steps) {
    throw Error("the checkpoint is at step {}, past train.steps = {}: raise train.steps", progress_.step,
                config_.train.steps);
  }
}

void Run::load_weights() {
  workers_.emplace(number_of_workers(config_));
  model_ = make_model(config_);
  set_tokenizer_tables(*model_, *data_.tokenizer());
  if (origin_) {
    load_parameters(*model_, origin_->model, "the checkpoint's model.safetensors");
  } else {
    load_entropy_model(*model_, config_);
  }
  optimizer_.emplace(*model_, config_);
  if (origin_ && !fresh_data_) optimizer_->load(origin_->optimizer);
  origin_.reset();
}

// How often each source's data have been gone through.
nlohmann::json Run::epochs() const {
  const auto counts = windows_->epochs(progress_.step * config_.train.tokens_per_step);
  nlohmann::json by_name;
  for (size_t i = 0; i < counts.size(); ++i) by_name[data_.sources()[i].name] = counts[i];
  return by_name;
}

void Run::follow(const StepMeasurements& measured) {
  if (!config_.parser.calibrate || !measured.scores) return;
  const double rate = std::max(kSmallestCalibrationRate, 1.0 / static_cast<double>(++progress_.calibrations));
  const double quantile = measured.scores->threshold_for(1.0 / config_.parser.ratio);
  progress_.running_threshold += rate * (quantile - progress_.running_threshold);
}

// Sets parser.threshold to the (1 - 1/R) quantile of p under the present weights, over as many of the training tokens
// that come next as validation reads.
void Run::calibrate() {
  const bool learned = config_.model.kind == ModelKind::dlcm && config_.parser.rule == BoundaryRule::learned;
  if (!learned || !config_.parser.calibrate || calibrated_step_ == progress_.step) return;
  at::NoGradGuard no_gradient;
  const MatrixPrecision precision(config_.train.precision == Precision::bf16);
  const int64_t step = config_.train.micro_batch_tokens;
  const int64_t begin = progress_.step * config_.train.tokens_per_step;
  ScoreHistogram scores;
  for (int64_t first = begin; first < begin + config_.eval.tokens; first += step) {
    scores.add(model_->parse(windows_->read(first, step), Decision::evaluation(0.5))->p_T);
  }
  config_.parser.threshold = scores.threshold_for(1.0 / config_.parser.ratio);
  calibrated_step_ = progress_.step;
}

void Run::log_step(const StepReport& report, double seconds) {
  const auto& measured = report.measured;
  const double tokens = static_cast<double>(config_.train.tokens_per_step);
  const double flops = kTrainingFlopsPerForward * forward_flops(config_, measured.work).total();
  const double mfu = flops / seconds / peak_;
  const double rate = config_.optimizer.token_rate * schedule_factor(config_, progress_.step - 1);
  nlohmann::json line{{"step", progress_.step},
                      {"tokens", progress_.step * config_.train.tokens_per_step},
                      {"seconds", trained_seconds()},
                      {"loss", measured.loss},
                      {"grad_norm", report.gradient_norm},
                      {"lr", rate},
                      {"tokens_per_second", tokens / seconds},
                      {"mfu", mfu},
                      {"skipped_steps", progress_.skipped_steps},
                      {"epochs", epochs()}};
  std::vector<std::pair<std::string, double>> scalars{{"train/loss", measured.loss},
                                                      {"train/grad_norm", report.gradient_norm},
                                                      {"train/lr", rate},
                                                      {"train/tokens_per_second", tokens / seconds},
                                                      {"train/mfu", mfu}};
  std::vector<std::string> fields{fmt::format("loss {:.4f}", measured.loss)};
  if (measured.boundary_rate > 0.0) {
    line["aux_loss"] = measured.aux_loss;
    line["ratio"] = 1.0 / measured.boundary_rate;
    line["mean_score"] = measured.mean_score;
    line["threshold"] = step_threshold();
    line["first_pass_seconds"] = measured.first_pass_seconds;
    scalars.emplace_back("train/aux_loss", measured.aux_loss);
    scalars.emplace_back("train/ratio", 1.0 / measured.boundary_rate);
    fields.push_back(fmt::format("ratio {:.2f}", 1.0 / measured.boundary_rate));
    if (measured.scores) {
      const double ratio = 1.0 / measured.scores->share_above(step_threshold());
      line["ratio_eval"] = ratio;
      scalars.emplace_back("train/ratio_eval", ratio);
      scalars.emplace_back("train/threshold", step_threshold());
    } else {
      line["ratio_eval"] = line["ratio"];
    }
  }
  fields.push_back(fmt::format("{:.0f} tok/s", tokens / seconds));
  fields.push_back(fmt::format("MFU {:.0f}%", 100 * mfu));
  if (progress_.step % config_.train.log_every_steps == 0 || progress_.step == config_.train.steps) {
    metrics_->append(line);
    events_->append(progress_.step, static_cast<double>(std::time(nullptr)), scalars);
  }
  line_->update(progress_.step, fields);
}

void Run::validate() {
  calibrate();
  const MatrixPrecision precision(config_.train.precision == Precision::bf16);
  const auto evaluation = evaluate(*model_, validation_, *data_.tokenizer(), config_.parser.threshold);
  nlohmann::json line{{"step", progress_.step},
                      {"tokens", progress_.step * config_.train.tokens_per_step},
                      {"seconds", trained_seconds()},
                      {"val_loss", evaluation.loss()},
                      {"val_bits_per_byte", evaluation.bits_per_byte()}};
  std::vector<std::pair<std::string, double>> scalars{{"val/loss", evaluation.loss()},
                                                      {"val/bits_per_byte", evaluation.bits_per_byte()}};
  auto text = fmt::format("step {}: validation loss {:.4f}, {:.4f} bits per byte", progress_.step, evaluation.loss(),
                          evaluation.bits_per_byte());
  if (const auto ratio = evaluation.ratio()) {
    line["val_ratio"] = *ratio;
    line["val_ratio_half"] = *evaluation.ratio_half();
    line["val_ratio_sampled"] = *evaluation.ratio_sampled();
    if (const auto spread = evaluation.ratio_spread()) {
      line["val_ratio_p10"] = (*spread)[0];
      line["val_ratio_p50"] = (*spread)[1];
      line["val_ratio_p90"] = (*spread)[2];
    }
    line["threshold"] = config_.parser.threshold;
    progress_.boundary_quantiles = evaluation.boundary_quantiles();
    line["boundary_quantiles"] = progress_.boundary_quantiles;
    scalars.emplace_back("val/ratio", *ratio);
    scalars.emplace_back("val/ratio_half", *evaluation.ratio_half());
    text += fmt::format(", {:.2f} tokens per concept", *ratio);
  }
  metrics_->append(line);
  events_->append(progress_.step, static_cast<double>(std::time(nullptr)), scalars);
  line_->message(text);
  validated_step_ = progress_.step;
}

void Run::save() {
  calibrate();
  Checkpoint checkpoint;
  checkpoint.step = progress_.step;
  checkpoint.model = save_parameters(*model_);
  checkpoint.optimizer = optimizer_->state();
  checkpoint.config_toml = to_toml(config_);
  checkpoint.tokenizer = data_.tokenizer()->serialized();
  auto progress = progress_;
  progress.seconds = trained_seconds();
  checkpoint.trainer = to_json(progress, config_, data_.hash(), epochs());
  save_checkpoint(output_, checkpoint, config_.checkpoint.keep);
  saved_step_ = progress_.step;
}

TrainingResult Run::run() {
  const StopSignal stop;
  metrics_.emplace(output_);
  metrics_->cut_back(progress_.step);
  events_.emplace(output_, progress_.step);
  const bool bfloat16 = config_.train.precision == Precision::bf16;
  // A single product is enough for a run that itself lasts seconds.
  const double run_flops = kTrainingFlopsPerForward * expected_flops_per_token(config_).total() *
                           static_cast<double>(config_.train.tokens_per_step * config_.train.steps);
  peak_ = matrix_product_peak(bfloat16 ? at::kBFloat16 : at::kFloat, /*attempts=*/run_flops > 1e13 ? 3 : 1);
  line_.emplace(ProgressLine::Options{
      .label = "train", .total = config_.train.steps, .first_step = progress_.step, .stream = stderr, .clock = {}});
  start_ = Clock::now();
  const auto every = [&](int64_t steps) { return steps > 0 && progress_.step % steps == 0; };
  while (progress_.step < config_.train.steps && stop.received() == 0) {
    const auto step_start = Clock::now();
    const auto data = read_step(*windows_, config_, progress_.step, communicator_);
    const auto report = optimise(*model_, *optimizer_, data, progress_.step, *workers_, communicator_);
    ++progress_.step;
    if (report.skipped) {
      ++progress_.skipped_steps;
      line_->message(fmt::format("step {}: the loss or a gradient is not finite; the step is skipped", progress_.step));
      if (++progress_.skipped_in_a_row >= config_.optimizer.max_skipped_steps) {
        line_->finish();
        throw RuntimeFailure(
            "training stopped at step {}: {} steps in a row had a loss or gradient that is not finite; lower the "
            "learning rates and resume from the newest checkpoint in {}",
            progress_.step, progress_.skipped_in_a_row, output_);
      }
    } else {
      progress_.skipped_in_a_row = 0;
      follow(report.measured);
    }
    log_step(report, seconds_since(step_start));
    if (every(config_.eval.every_steps)) validate();
    if (every(config_.checkpoint.every_steps)) save();
  }
  if (progress_.step == config_.train.steps && validated_step_ != progress_.step) validate();
  if (saved_step_ != progress_.step) save();
  line_->finish();
  TrainingResult result{progress_.step, progress_.step * config_.train.tokens_per_step, std::nullopt};
  if (progress_.step < config_.train.steps) result.signal = stop.received();
  return result;
}

}  // namespace

TrainingResult train(const TrainingRequest& request) { return Run(request).run(); }

}  // namespace dlcm
