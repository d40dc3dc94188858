#include "dlcm/sweep/coordinate_check.h"

#include "dlcm/analysis/numbers.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/run.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

namespace dlcm {
namespace {

constexpr int64_t kProbeTokens = 2048;

double root_mean_square(const at::Tensor& values) {
  return std::sqrt(values.to(at::kDouble).square().mean().item<double>());
}

using Activations = std::map<std::string, at::Tensor>;

// Every component's activations on `batch`, concepts of equal length: what is compared has one shape at every step.
Activations activations_of(LanguageModel& model, const Batch& batch) {
  const at::NoGradGuard no_gradient;
  const auto ratio = std::max<int64_t>(1, std::llround(model.config().parser.ratio));
  Activations activations;
  model.set_observer([&](std::string_view component, const at::Tensor& value) {
    activations[std::string(component)] = value.detach().clone();
  });
  const auto output = model.forward(batch, Decision::forced(batch.documents.position_T.remainder(ratio).eq(0)));
  model.set_observer({});
  activations["logits"] = model.logits(output.y_TD);
  return activations;
}

void check_widths(const CoordinateRequest& request) {
  if (request.widths.size() < 2 || std::adjacent_find(request.widths.begin(), request.widths.end(),
                                                      std::greater_equal<>()) != request.widths.end()) {
    throw Error("--widths expects two or more rising factors such as 1,2,4,8");
  }
  for (const int64_t factor : request.widths) {
    if (factor < 1) throw Error("--widths expects factors of 1 or more, found {}", factor);
    check_config(widened(request.config, factor, true));
  }
}

// The component's points over widths after `step` steps.
std::vector<Point> over_widths(const std::vector<Coordinate>& coordinates, const std::string& component, bool mup,
                               int64_t step, double Coordinate::*value) {
  std::vector<Point> points;
  for (const auto& one : coordinates) {
    if (one.component == component && one.mup == mup && one.step == step) {
      points.push_back({static_cast<double>(one.width), one.*value});
    }
  }
  return points;
}

double slope_of(const std::vector<Point>& points) {
  double x_mean = 0.0, y_mean = 0.0, products = 0.0, squares = 0.0;
  const auto count = static_cast<double>(points.size());
  for (const auto& point : points) {
    x_mean += std::log(point.x) / count;
    y_mean += std::log(point.y) / count;
  }
  for (const auto& point : points) {
    products += (std::log(point.x) - x_mean) * (std::log(point.y) - y_mean);
    squares += (std::log(point.x) - x_mean) * (std::log(point.x) - x_mean);
  }
  return products / squares;
}

std::vector<std::string> components_of(const std::vector<Coordinate>& coordinates) {
  std::vector<std::string> components;
  for (const auto& one : coordinates) {
    if (std::find(components.begin(), components.end(), one.component) == components.end())
      components.push_back(one.component);
  }
  return components;
}

int64_t last_step(const std::vector<Coordinate>& coordinates) {
  int64_t last = 0;
  for (const auto& one : coordinates) last = std::max(last, one.step);
  return last;
}

}  // namespace

Config widened(const Config& config, int64_t factor, bool mup) {
  auto wide = config;
  const auto widen = [&](auto& stack) {
    stack.width *= factor;
    stack.feed_forward *= factor;
    stack.heads *= factor;
    stack.kv_heads *= factor;
  };
  widen(wide.model.token);
  widen(wide.model.concepts);
  wide.parser.scan_width *= factor;
  wide.mup.base_token_width = mup ? config.model.token.width : 0;
  wide.mup.base_concept_width = mup ? config.model.concepts.width : 0;
  wide.schedule.warmup_steps = 0;
  wide.schedule.decay_fraction = 0.0;
  wide.train.steps = std::numeric_limits<int32_t>::max();  // after its last step a schedule is at its end
  return wide;
}

std::vector<Coordinate> coordinate_check(const CoordinateRequest& request) {
  check_widths(request);
  const Mixture data(request.data, Split::train), validation(request.data, Split::valid);
  const MixedWindows windows(data, request.config.train.seed, request.config.train.context);
  const int64_t probe_tokens = std::max(kProbeTokens, request.config.train.context);
  const auto probe = validation_batches(validation, request.config.train.context, probe_tokens, probe_tokens).front();
  // A step costs about the square of the width.
  double total = 0.0, done = 0.0;
  for (const int64_t factor : request.widths) total += 2.0 * static_cast<double>(factor * factor * request.steps);
  ProgressLine line(
      {.label = "coordinate check", .total = std::llround(total), .first_step = 0, .stream = stderr, .clock = {}});
  std::vector<Coordinate> coordinates;
  for (const bool mup : {true, false}) {
    for (const int64_t factor : request.widths) {
      const auto config = resolve_config(widened(request.config, factor, mup), data);
      const auto model = make_model(config);
      set_tokenizer_tables(*model, *data.tokenizer());
      load_entropy_model(*model, config);
      SingleProcess communicator;
      Gradients gradients(*model, communicator);
      AdamW optimizer(*model, config);
      WorkerThreads workers(number_of_workers(config));
      const auto start = activations_of(*model, probe);
      const auto record = [&](int64_t step) {
        for (const auto& [component, value] : activations_of(*model, probe)) {
          coordinates.push_back(
              {mup, factor, step, component, root_mean_square(value), root_mean_square(value - start.at(component))});
        }
      };
      record(0);
      for (int64_t step = 0; step < request.steps; ++step) {
        const auto report =
            optimise(*model, optimizer, gradients, read_step(windows, config, step, communicator), step, workers);
        if (report.skipped) {
          throw RuntimeFailure(
              "the loss or a gradient is not finite in step {} at width x{}{}: lower the learning rates, or take fewer "
              "--steps",
              step + 1, factor, mup ? " with muP" : "");
        }
        record(step + 1);
        done += static_cast<double>(factor * factor);
        line.update(std::llround(done), {fmt::format("width ×{}{}", factor, mup ? " with µP" : "")});
      }
    }
  }
  line.finish();
  return coordinates;
}

std::vector<CoordinateSlope> coordinate_slopes(const std::vector<Coordinate>& coordinates) {
  const int64_t last = last_step(coordinates);
  std::vector<CoordinateSlope> slopes;
  for (const auto& component : components_of(coordinates)) {
    slopes.push_back({component, slope_of(over_widths(coordinates, component, true, last, &Coordinate::update)),
                      slope_of(over_widths(coordinates, component, false, last, &Coordinate::update))});
  }
  return slopes;
}

Table coordinate_table(const std::vector<Coordinate>& coordinates) {
  Table table({"mup", "width", "step", "component", "activation", "update"});
  for (const auto& one : coordinates) {
    table.add({one.mup ? "true" : "false", std::to_string(one.width), std::to_string(one.step), one.component,
               csv_number(one.activation), csv_number(one.update)});
  }
  return table;
}

Table slope_table(const std::vector<CoordinateSlope>& slopes) {
  Table table({"component", "with_mup", "without"}, {"component", "with µP", "without"});
  for (const auto& slope : slopes) {
    const auto two = decimals(2);
    table.add({slope.component, csv_number(slope.with_mup), csv_number(slope.without)},
              {slope.component, two(slope.with_mup), two(slope.without)});
  }
  return table;
}

ChartPage coordinate_page(const std::vector<Coordinate>& coordinates) {
  const auto slopes = coordinate_slopes(coordinates);
  const int64_t last = last_step(coordinates);
  ChartPage page{.kind = "dlcm coordinate-check", .title = "Activations and updates over width"};
  const auto steepest = [&](double CoordinateSlope::*slope) {
    return std::max_element(slopes.begin(), slopes.end(),
                            [&](const auto& a, const auto& b) { return std::abs(a.*slope) < std::abs(b.*slope); });
  };
  const auto with = steepest(&CoordinateSlope::with_mup), without = steepest(&CoordinateSlope::without);
  page.verdicts.push_back(
      fmt::format("After {} steps the update that depends most on the width grows as width^{:.2f} with µP ({}) and as "
                  "width^{:.2f} without "
                  "({}).",
                  last, with->with_mup, with->component, without->without, without->component));
  const auto charts = [&](double Coordinate::*value, const std::string& what, const std::string& note) {
    std::vector<Chart> drawn;
    for (const bool mup : {true, false}) {
      Chart chart{.title = fmt::format("{} {}", what, mup ? "with µP" : "without µP"),
                  .note = note,
                  .x = "width, times the base",
                  .y = "root mean square",
                  .logarithmic_x = true,
                  .logarithmic_y = true};
      for (const auto& component : components_of(coordinates)) {
        chart.series.push_back({.name = component, .points = over_widths(coordinates, component, mup, last, value)});
      }
      drawn.push_back(std::move(chart));
    }
    return drawn;
  };
  page.sections.push_back(
      {.title = "Updates",
       .html = slope_table(slopes).html("Exponents of the updates"),
       .charts = charts(&Coordinate::update, "Updates",
                        fmt::format("Change of the activations since step 0, after {} steps; flat is right.", last))});
  page.sections.push_back(
      {.title = "Activations",
       .charts = charts(&Coordinate::activation, "Activations", fmt::format("After {} steps.", last))});
  return page;
}

}  // namespace dlcm
