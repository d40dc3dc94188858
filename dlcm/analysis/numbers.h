// Numbers as a report writes them. Spaces between a number and its unit break no line (U+00A0), minus signs are U+2212.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace dlcm {

// What stands for a number that is not known.
inline constexpr std::string_view kNothing = "–";

// Each writes kNothing for what is no finite number.

// The size of a share as a percentage: "0.9 %", "12 %".
std::string percentage(double share);
// The same with its sign, which a share that rounds to nothing does not have: "+0.9 %", "0.0 %".
std::string signed_percentage(double share);

// Writes numbers with so many decimals.
std::function<std::string(double)> decimals(int digits);

// "1.23 M", "45.6 k", "812": three significant digits.
std::string quantity(double value);
// "1 h 05 min", "3 min 20 s", "12 s".
std::string duration(double seconds);

}  // namespace dlcm
