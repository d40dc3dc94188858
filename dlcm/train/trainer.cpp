// The run: what is decided before the first step, the loop, and what a stop leaves behind. Everything that a resume
// needs is in the checkpoint; the data and the draws are functions of the step alone.
#include "dlcm/train/trainer.h"

#include "dlcm/dist/agreement.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/event_file.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/resume.h"
#include "dlcm/train/run.h"
#include "dlcm/train/run_state.h"
#include "dlcm/train/schedule.h"
#include "dlcm/train/validation.h"
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

// The running estimate follows the steps: the mean of the first, then an average over about 10. It says what the next
// step's ratio at a threshold would be; what is stored and evaluated is measured afresh, for it may not lag behind.
constexpr double kSmallestCalibrationRate = 0.1;

// What a rank's weights are compared by.
void require_equal_weights(Communicator& communicator, const SafeTensors& parameters) {
  if (communicator.world_size() == 1) return;
  StreamHash hash;
  for (const auto& [name, tensor] : parameters.tensors) {
    const auto values = tensor.contiguous();
    hash.update({static_cast<const char*>(values.const_data_ptr()), static_cast<size_t>(values.nbytes())});
  }
  require_equal(communicator, {{"weights of hash", hash.digest()}});
}

// The checkpoint that a training goes on or starts from; empty where there is none.
std::string origin_of(const TrainingRequest& request) {
  if (request.from) return find_checkpoint(*request.from);
  const bool has_checkpoint =
      request.resume && std::filesystem::exists(request.output) && !complete_checkpoints(request.output).empty();
  return has_checkpoint ? find_checkpoint(request.output) : std::string();
}

// The configuration as asked, with what the origin brings along before anything is resolved.
Config asked_config(const TrainingRequest& request) {
  auto config = request.config;
  const auto origin = origin_of(request);
  if (!origin.empty()) take_entropy_rule(config, load_config(origin + "/config.toml"));
  return config;
}

class Run {
 public:
  // Reads and checks this rank's own input; nothing is made before all is well.
  Run(const TrainingRequest& request, Communicator& communicator)
      : communicator_(communicator),
        data_(request.data, Split::train),
        config_(resolve_config(asked_config(request), data_)),
        output_(request.output) {
    check_world_size(config_, communicator);
    // Where the directory is there, who else trains in it is the first question.
    if (leads() && std::filesystem::exists(output_)) lock_.emplace(output_);
    prepare_start(request);
    validation_ = validation_batches(Mixture(request.data, Split::valid), config_.train.context,
                                     config_.train.micro_batch_tokens, config_.eval.tokens);
  }

  // Throws Error on every rank where the ranks do not train the same.
  void agree();
  void load_weights();
  TrainingResult run();

 private:
  bool leads() const { return communicator_.rank() == 0; }
  bool has_company() const { return communicator_.world_size() > 1; }
  void prepare_start(const TrainingRequest& request);
  void follow(const StepReport& report, const StepData& data);
  void calibrate();
  void log_step(const StepReport& report, double seconds);
  void validate();
  void save();
  bool stop_wished(const StopSignal& stop);
  // The threshold that a step's own ratio_eval is taken at.
  double step_threshold() const {
    return config_.parser.calibrate ? progress_.running_threshold : config_.parser.threshold;
  }
  nlohmann::json epochs() const;
  double trained_seconds() const { return progress_.seconds + seconds_since(start_); }

  Communicator& communicator_;
  Mixture data_;
  Config config_;
  std::string output_;
  std::optional<RunLock> lock_;
  std::optional<Checkpoint> origin_;  // what weights and moments come from
  std::string origin_path_;
  bool fresh_data_ = false;  // origin_ gives its weights only: the data are others
  std::optional<MixedWindows> windows_;
  std::vector<Batch> validation_;
  std::optional<WorkerThreads> workers_;
  std::shared_ptr<LanguageModel> model_;
  std::optional<Gradients> gradients_;
  std::optional<AdamW> optimizer_;
  RunState progress_;
  double peak_ = 0.0;
  Clock::time_point start_;
  std::optional<MetricsLog> metrics_;
  std::optional<EventFile> events_;
  std::optional<ProgressLine> line_;
  int64_t saved_step_ = -1, validated_step_ = -1, calibrated_step_ = -1;
  int stop_signal_ = 0;  // that some rank has got
};

// Decides where the run starts and refuses what cannot be, before anything is written.
void Run::prepare_start(const TrainingRequest& request) {
  const bool has_checkpoint = std::filesystem::exists(output_) && !complete_checkpoints(output_).empty();
  if (request.resume && request.from)
    throw Error("--resume and --from exclude each other: one continues a run, the other starts one");
  if (has_checkpoint && !request.resume) {
    throw Error("{} already holds a training: add --resume to go on with it, or choose another --output", output_);
  }
  origin_path_ = origin_of(request);
  if (origin_path_.empty()) return;
  origin_ = load_checkpoint(origin_path_, /*with_optimizer=*/false);
  const auto stored = parse_config(origin_->config_toml, "the checkpoint's config.toml");
  if (origin_->tokenizer != data_.tokenizer()->serialized()) {
    throw Error(
        "the data in {} were made with another tokenizer than the checkpoint's: build them with the tokenizer "
        "file inside the checkpoint",
        request.data);
  }
  progress_ = run_state_of(*origin_);
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
    progress_ = {.boundary_quantiles = progress_.boundary_quantiles, .source_ratios = {}};
  }
  if (progress_.step > config_.train.steps) {
    throw Error("the checkpoint is at step {}, past train.steps = {}: raise train.steps", progress_.step,
                config_.train.steps);
  }
}

void Run::agree() {
  if (!has_company()) return;
  NamedValues values{{"the program", hash_file("/proc/self/exe")},
                     {"the data", data_.hash()},
                     {"the step to begin at", std::to_string(progress_.step)}};
  for (const auto& entry : config_entries(config_)) {
    const bool of_the_machine =
        entry.key == "train.threads" || entry.key == "train.workers" || entry.key == "data.path";
    if (!of_the_machine) values.emplace_back(entry.key, entry.value);
  }
  require_equal(communicator_, values);
}

void Run::load_weights() {
  workers_.emplace(number_of_workers(config_));
  model_ = make_model(config_);
  set_tokenizer_tables(*model_, *data_.tokenizer());
  if (origin_) {
    load_parameters(*model_, origin_->model, "the checkpoint's model.safetensors");
    origin_->model = {};
  } else {
    load_entropy_model(*model_, config_);
  }
  gradients_.emplace(*model_, communicator_, config_.dist.sharding);
  optimizer_.emplace(*model_, config_, gradients_->owned());
  if (origin_ && !fresh_data_) {
    optimizer_->load(MappedSafeTensors(optimizer_file(origin_path_, /*verify=*/leads())));
  }
  origin_.reset();
  windows_.emplace(data_, config_.train.seed, config_.train.context);
  if (leads() && !lock_) lock_.emplace(output_);
}

// How often each source's data have been gone through.
nlohmann::json Run::epochs() const {
  const auto counts = windows_->epochs(progress_.step * config_.train.tokens_per_step);
  nlohmann::json by_name;
  for (size_t i = 0; i < counts.size(); ++i) by_name[data_.sources()[i].name] = counts[i];
  return by_name;
}

void Run::follow(const StepReport& report, const StepData& data) {
  const auto& measured = report.measured;
  if (measured.boundary_rate > 0.0) {
    const auto sources = static_cast<int64_t>(data_.sources().size());
    auto counts = at::zeros({2, sources}, at::kDouble);  // tokens, concepts
    for (size_t i = 0; i < measured.boundary_T.size(); ++i) {
      const auto concepts = measured.boundary_T[i].view({-1, config_.train.context}).sum(1);
      for (size_t window = 0; window < data.sources[i].size(); ++window) {
        const auto source = static_cast<int64_t>(data.sources[i][window]);
        counts[0][source] += static_cast<double>(config_.train.context);
        counts[1][source] += concepts[static_cast<int64_t>(window)].item<double>();
      }
    }
    communicator_.all_reduce_sum({counts});
    if (progress_.source_ratios.empty()) progress_.source_ratios.assign(data_.sources().size(), config_.parser.ratio);
    for (int64_t source = 0; source < sources; ++source) {
      if (counts[1][source].item<double>() == 0.0) continue;
      progress_.source_ratios[static_cast<size_t>(source)] = (counts[0][source] / counts[1][source]).item<double>();
    }
  }
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
  int64_t turn = 0;
  for (int64_t first = begin; first < begin + config_.eval.tokens; first += step) {
    if (turn++ % communicator_.world_size() != communicator_.rank()) continue;
    scores.add(model_->parse(windows_->read(first, step), Decision::evaluation(0.5))->p_T);
    communicator_.note_progress();
  }
  communicator_.all_reduce_sum({scores.counts()});
  config_.parser.threshold = scores.threshold_for(1.0 / config_.parser.ratio);
  calibrated_step_ = progress_.step;
}

void Run::log_step(const StepReport& report, double seconds) {
  const auto& measured = report.measured;
  const double tokens = static_cast<double>(config_.train.tokens_per_step);
  const double flops = kTrainingFlopsPerForward * forward_flops(config_, measured.work).total();
  const double mfu = flops / seconds / (peak_ * static_cast<double>(communicator_.world_size()));
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
  if (has_company()) {
    line["ranks"] = communicator_.world_size();
    line["slowest_to_mean"] = report.slowest_to_mean;
    line["waited_seconds"] = report.mean_waited_seconds;
    line["bytes_sent"] = report.traffic.bytes_sent;
  }
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
  const auto evaluation =
      evaluate_together(*model_, validation_, *data_.tokenizer(), config_.parser.threshold, communicator_);
  validated_step_ = progress_.step;
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
  if (!leads()) return;
  metrics_->append(line);
  events_->append(progress_.step, static_cast<double>(std::time(nullptr)), scalars);
  line_->message(text);
}

// Rank 0 makes the checkpoint; every rank writes the moments that it alone has.
void Run::save() {
  calibrate();
  std::optional<CheckpointSave> saving;
  std::string optimizer_path;
  auto parameters = save_parameters(*model_);
  on_every_rank(communicator_, [&] {
    require_equal_weights(communicator_, parameters);
    if (!leads()) return;
    saving.emplace(output_, progress_.step);
    optimizer_path = saving->optimizer_path();
    create_safetensors(optimizer_path, optimizer_->state_shapes());
  });
  optimizer_path = communicator_.all_gather_text(optimizer_path)[0];
  on_every_rank(communicator_, [&] {
    if (leads() || config_.dist.sharding != Sharding::none) write_slices(optimizer_path, optimizer_->state());
  });
  on_every_rank(communicator_, [&] {
    if (!leads()) return;
    Checkpoint checkpoint;
    checkpoint.step = progress_.step;
    checkpoint.model = std::move(parameters);
    checkpoint.config_toml = to_toml(config_);
    checkpoint.tokenizer = data_.tokenizer()->serialized();
    auto progress = progress_;
    progress.seconds = trained_seconds();
    checkpoint.trainer = to_json(progress, config_, data_.hash(), epochs());
    saving->finish(checkpoint, config_.checkpoint.keep);
  });
  saved_step_ = progress_.step;
}

// True on every rank when one of them has been told to stop.
bool Run::stop_wished(const StopSignal& stop) {
  const auto signals = communicator_.all_gather_values({static_cast<double>(stop.received())});
  stop_signal_ = static_cast<int>(signals.max().item<double>());
  return stop_signal_ != 0;
}

TrainingResult Run::run() {
  const StopSignal stop;
  if (leads()) {
    metrics_.emplace(output_);
    metrics_->cut_back(progress_.step);
    events_.emplace(output_, progress_.step);
  }
  // Ranks whose instruction sets differ may draw other initial weights.
  for (const auto& parameter : model_->parameters()) communicator_.broadcast({parameter});
  const bool bfloat16 = config_.train.precision == Precision::bf16;
  // A single product is enough for a run that itself lasts seconds.
  const double run_flops = kTrainingFlopsPerForward * expected_flops_per_token(config_).total() *
                           static_cast<double>(config_.train.tokens_per_step * config_.train.steps);
  peak_ = matrix_product_peak(bfloat16 ? at::kBFloat16 : at::kFloat, /*attempts=*/run_flops > 1e13 ? 3 : 1);
  if (leads()) {
    line_.emplace(ProgressLine::Options{
        .label = "train", .total = config_.train.steps, .first_step = progress_.step, .stream = stderr, .clock = {}});
  }
  start_ = Clock::now();
  const auto every = [&](int64_t steps) { return steps > 0 && progress_.step % steps == 0; };
  while (progress_.step < config_.train.steps && !stop_wished(stop)) {
    const auto step_start = Clock::now();
    const auto data = read_step(*windows_, config_, progress_.step, communicator_, progress_.source_ratios);
    const auto report = optimise(*model_, *optimizer_, *gradients_, data, progress_.step, *workers_);
    ++progress_.step;
    if (report.skipped) {
      ++progress_.skipped_steps;
      if (leads()) {
        line_->message(
            fmt::format("step {}: the loss or a gradient is not finite; the step is skipped", progress_.step));
      }
      if (++progress_.skipped_in_a_row >= config_.optimizer.max_skipped_steps) {
        if (leads()) line_->finish();
        on_every_rank(communicator_, [&] {
          throw RuntimeFailure(
              "training stopped at step {}: {} steps in a row had a loss or gradient that is not finite; lower the "
              "learning rates and resume from the newest checkpoint in {}",
              progress_.step, progress_.skipped_in_a_row, output_);
        });
      }
    } else {
      progress_.skipped_in_a_row = 0;
      follow(report, data);
    }
    if (leads()) log_step(report, seconds_since(step_start));
    if (every(config_.eval.every_steps)) validate();
    if (every(config_.checkpoint.every_steps)) save();
  }
  if (progress_.step == config_.train.steps && validated_step_ != progress_.step) validate();
  if (saved_step_ != progress_.step) save();
  if (leads()) line_->finish();
  TrainingResult result{progress_.step, progress_.step * config_.train.tokens_per_step, std::nullopt};
  if (progress_.step < config_.train.steps) result.signal = stop_signal_;
  return result;
}

}  // namespace

TrainingResult train(const TrainingRequest& request, Communicator& communicator) {
  std::optional<Run> run;
  on_every_rank(communicator, [&] { run.emplace(request, communicator); });
  on_every_rank(communicator, [&] { run->agree(); });
  on_every_rank(communicator, [&] { run->load_weights(); });
  return run->run();
}

}  // namespace dlcm
