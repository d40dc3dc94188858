#include "dlcm/analysis/numbers.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace dlcm {
namespace {

constexpr std::string_view kMinus = "−";
constexpr std::string_view kSpace = "\u00A0";  // between a number and its unit: no line breaks there

std::string with_minus(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, kMinus);
  return text;
}

}  // namespace

std::string percentage(double share) {
  if (!std::isfinite(share)) return std::string(kNothing);
  const double percent = 100.0 * std::abs(share);
  return fmt::format("{:.{}f}{}%", percent, percent < 9.95 ? 1 : 0, kSpace);
}

std::string signed_percentage(double share) {
  const auto text = percentage(share);
  if (text.starts_with("0.0") || !std::isfinite(share)) return text;
  return fmt::format("{}{}", share < 0.0 ? kMinus : "+", text);
}

std::function<std::string(double)> decimals(int digits) {
  return [digits](double value) {
    return std::isfinite(value) ? with_minus(fmt::format("{:.{}f}", value, digits)) : std::string(kNothing);
  };
}

std::string quantity(double value) {
  constexpr std::array<std::string_view, 7> kPrefixes{"", "k", "M", "G", "T", "P", "E"};
  if (!std::isfinite(value)) return std::string(kNothing);
  size_t power = 0;
  while (std::abs(value) >= 999.5 && power + 1 < kPrefixes.size()) {
    value /= 1000.0;
    ++power;
  }
  return with_minus(fmt::format("{:.3g}{}{}", value, power == 0 ? "" : kSpace, kPrefixes[power]));
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return std::string(kNothing);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{0}{1}s", whole, kSpace);
  if (whole < 3600) return fmt::format("{0}{2}min{2}{1:02}{2}s", whole / 60, whole % 60, kSpace);
  return fmt::format("{0}{2}h{2}{1:02}{2}min", whole / 3600, whole % 3600 / 60, kSpace);
}

}  // namespace dlcm
