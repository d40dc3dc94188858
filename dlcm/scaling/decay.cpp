// Eigen comes with Ceres. This file includes nothing of LibTorch, as fit.cpp.
#include "dlcm/scaling/decay.h"

#include "dlcm/util/error.h"

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

// Logarithms that spread less than this are one number.
constexpr double kLeastSpread = 1e-6;

bool varies(const Eigen::VectorXd& column) { return column.maxCoeff() - column.minCoeff() > kLeastSpread; }

bool has_decayed(const Trajectory& run) { return !run.scale.baseline && run.final_loss.has_value(); }

bool has_gained(const Trajectory& run) { return has_decayed(run) && *run.final_loss < run.stable.loss; }

}  // namespace

double DecayLaw::gain(const RunScale& run, double stable_loss) const {
  return factor * std::pow(stable_loss, loss_exponent) * std::pow(run.baseline ? 1.0 : run.ratio, ratio_exponent) *
         std::pow(run.parameters, size_exponent);
}

std::optional<DecayLaw> fit_decay(const std::vector<Trajectory>& runs) {
  std::vector<const Trajectory*> used;
  for (const auto& run : runs) {
    if (has_gained(run)) used.push_back(&run);
  }
  for (const auto* run : used) {
    if (run->decay_fraction == used.front()->decay_fraction) continue;
    throw Error(
        "expected one schedule.decay_fraction of all DLCM runs with a finished decay, found {} in {} and {} in {}: fit "
        "them apart",
        used.front()->decay_fraction, used.front()->name, run->decay_fraction, run->name);
  }
  const auto rows = static_cast<Eigen::Index>(used.size());
  if (rows < 2) return std::nullopt;
  Eigen::MatrixXd all(rows, 4);
  Eigen::VectorXd gain(rows);
  for (Eigen::Index i = 0; i < rows; ++i) {
    const auto& run = *used[static_cast<size_t>(i)];
    all.row(i) << 1.0, std::log(run.stable.loss), std::log(run.scale.ratio), std::log(run.scale.parameters);
    gain[i] = std::log(run.stable.loss - *run.final_loss);
  }
  // Columns that do not vary cannot be told from the factor.
  std::vector<Eigen::Index> columns{0};
  for (Eigen::Index column = 1; column < 4; ++column) {
    if (varies(all.col(column))) columns.push_back(column);
  }
  // As many numbers as runs would go through all of them, whatever they are.
  if (rows <= static_cast<Eigen::Index>(columns.size())) return std::nullopt;
  const Eigen::MatrixXd chosen = all(Eigen::all, columns);
  const Eigen::VectorXd found = chosen.colPivHouseholderQr().solve(gain);
  Eigen::Vector4d exponents = Eigen::Vector4d::Zero();
  for (size_t i = 0; i < columns.size(); ++i) exponents[columns[i]] = found[static_cast<Eigen::Index>(i)];
  DecayLaw law{.factor = std::exp(exponents[0]),
               .loss_exponent = exponents[1],
               .ratio_exponent = exponents[2],
               .size_exponent = exponents[3],
               .r_squared = 0.0,
               .runs = static_cast<int64_t>(rows),
               .decay_fraction = used.front()->decay_fraction};
  double mean = 0.0, errors = 0.0, spread = 0.0;
  for (const auto* run : used) mean += (run->stable.loss - *run->final_loss) / static_cast<double>(rows);
  for (const auto* run : used) {
    const double measured = run->stable.loss - *run->final_loss;
    errors += std::pow(law.gain(run->scale, run->stable.loss) - measured, 2);
    spread += std::pow(measured - mean, 2);
  }
  law.r_squared = spread > 0.0 ? 1.0 - errors / spread : 0.0;
  return law;
}

int64_t decays_without_gain(const std::vector<Trajectory>& runs) {
  return std::count_if(runs.begin(), runs.end(),
                       [](const Trajectory& run) { return has_decayed(run) && !has_gained(run); });
}

}  // namespace dlcm
