// Eigen comes with Ceres. This file includes nothing of LibTorch, as fit.cpp.
#include "dlcm/scaling/decay.h"

#include <Eigen/Dense>

#include <cmath>

namespace dlcm {
namespace {

// Logarithms that spread less than this are one number.
constexpr double kLeastSpread = 1e-6;

bool varies(const Eigen::VectorXd& column) { return column.maxCoeff() - column.minCoeff() > kLeastSpread; }

}  // namespace

double DecayLaw::gain(const RunScale& run, double stable_loss) const {
  return factor * std::pow(stable_loss, loss_exponent) * std::pow(run.baseline ? 1.0 : run.ratio, ratio_exponent) *
         std::pow(run.parameters, size_exponent);
}

std::optional<DecayLaw> fit_decay(const std::vector<Trajectory>& runs) {
  std::vector<const Trajectory*> used;
  for (const auto& run : runs) {
    if (!run.scale.baseline && run.final_loss && *run.final_loss < run.stable.loss) used.push_back(&run);
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
  if (rows < static_cast<Eigen::Index>(columns.size())) return std::nullopt;
  const Eigen::MatrixXd chosen = all(Eigen::all, columns);
  const Eigen::VectorXd found = chosen.colPivHouseholderQr().solve(gain);
  Eigen::Vector4d exponents = Eigen::Vector4d::Zero();
  for (size_t i = 0; i < columns.size(); ++i) exponents[columns[i]] = found[static_cast<Eigen::Index>(i)];
  DecayLaw law{std::exp(exponents[0]), exponents[1], exponents[2], exponents[3], 0.0, static_cast<int64_t>(rows)};
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

}  // namespace dlcm
