// The type of the factors of an op's matrix products.
#pragma once

namespace dlcm {

// With bfloat16, factors are rounded to it; sums over them are in float. double ignores it.
enum class ProductPrecision { as_given, bfloat16 };

}  // namespace dlcm
