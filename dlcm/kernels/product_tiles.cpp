// Compiled once per instruction set by Highway. Without the precompiled header: targets are set before any include.
#include "dlcm/kernels/product_tiles.h"

#include "dlcm/kernels/bfloat16.h"

#define HWY_WANT_AVX3_DL  // AVX-512 with VNNI
// Vectors of unknown size cannot lie in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dlcm/kernels/product_tiles.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include "dlcm/kernels/chain_tile-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

constexpr int64_t kQuad = 4;  // inputs in one 32-bit lane of weights
constexpr int64_t kQuadBytes = HWY_TARGET <= HWY_AVX3_DL ? 4 : 8;

constexpr int64_t kAhead = 2048;  // bytes between prefetching and reading

// Rows of one of two tiles.
constexpr bool may_share(int rows) { return rows >= kMostRows / 2; }

template <int rows, int panels, typename Weight>
void float_tile(const TileProduct& product) {
  const auto* activations = static_cast<const float*>(product.activations);
  const Panels<Weight> weights{.first = reinterpret_cast<const Weight*>(product.weights),
                               .step = product.panel_step / static_cast<int64_t>(sizeof(Weight))};
  if constexpr (may_share(rows) && panels == 1) {
    if (product.prefetch != nullptr) {
      return chain_tile<rows, panels, 1, rows>(activations, weights, NextStretch{product.prefetch}, product.inputs,
                                               product.y, product.y_row, product.continues);
    }
  }
  chain_tile<rows, panels, 1, rows>(activations, weights, FurtherOn{kAhead}, product.inputs, product.y, product.y_row,
                                    product.continues);
}

#if HWY_TARGET <= HWY_AVX2

using Integer = hn::ScalableTag<int32_t>;
using Byte = hn::ScalableTag<uint8_t>;
using IntegerVector = hn::Vec<Integer>;
using ByteVector = hn::Vec<Byte>;

// sum += the four products of each lane's bytes (unsigned weights) with a quad of activations; exact.
#if HWY_TARGET <= HWY_AVX3_DL
// Highway 1.0 has no name for this instruction of AVX512-VNNI.
HWY_INLINE IntegerVector add_products(IntegerVector sum, ByteVector weights, const std::byte* quad) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.raw) : "v"(weights.raw), "m"(*reinterpret_cast<const int32_t*>(quad)));
  return sum;
}
#else
// Activations are 16-bit: those of the even bytes, then those of the odd ones. 16-bit products of bytes would overflow.
HWY_INLINE IntegerVector add_products(IntegerVector sum, ByteVector weights, const std::byte* quad) {
  const hn::Repartition<int16_t, Byte> pairs;
  const hn::Repartition<uint16_t, Byte> unsigned_pairs;
  const auto* both = reinterpret_cast<const int32_t*>(quad);
  const auto even = hn::And(hn::BitCast(pairs, weights), hn::Set(pairs, 0xFF));
  const auto odd = hn::BitCast(pairs, hn::ShiftRight<8>(hn::BitCast(unsigned_pairs, weights)));
  auto unused = hn::Zero(Integer());
  sum = hn::ReorderWidenMulAccumulate(Integer(), even, hn::BitCast(pairs, hn::Set(Integer(), both[0])), sum, unused);
  return hn::ReorderWidenMulAccumulate(Integer(), odd, hn::BitCast(pairs, hn::Set(Integer(), both[1])), sum, unused);
}
#endif

// Sums of integers and of floats are held side by side.
constexpr int quantised_panels_of(int rows) {
  return rows == 1 ? panels_of(1) : rows <= 3 ? std::min(2, panels_of(rows)) : 1;
}

template <int rows, int panels, WeightFormat format>
void quantised_tile(const TileProduct& product) {
  constexpr int in_panel = vectors_of(rows), vectors = panels * in_panel;
  static_assert(panels == 1 || in_panel * kLanes == kPanelOutputs);
  constexpr bool int4 = format == WeightFormat::int4;
  constexpr int64_t group = int4 ? 32 : 64;
  constexpr int64_t vector_bytes = HWY_LANES(uint8_t);
  const Float d;
  const Integer integers;
  const Byte bytes;
  const hn::Repartition<uint16_t, Byte> pairs;
  const auto low_bits = hn::Set(bytes, 0x0F);
  const int64_t groups = product.inputs / group, step = product.panel_step;
  constexpr int64_t kLine = 64;
  static_assert(kQuad * kPanelOutputs == 2 * kLine);
  const bool shares = may_share(rows) && panels == 1 && product.prefetch != nullptr;
  const std::byte* next = product.prefetch;
  const int64_t group_size = static_cast<int64_t>(panel_bytes(format, group));
  for (int64_t part = 0; part < kPanelOutputs; part += in_panel * kLanes) {
    const auto* HWY_RESTRICT x = static_cast<const std::byte*>(product.activations);
    const auto* HWY_RESTRICT x_scales = product.scales;
    const auto* HWY_RESTRICT offsets = product.offsets;
    const std::byte* HWY_RESTRICT packed = product.weights;
    float* HWY_RESTRICT y = product.y + part;
    FloatVector sum[rows][vectors];
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) {
        sum[r][j] = product.continues ? hn::LoadU(d, y + r * product.y_row + j * kLanes) : hn::Zero(d);
      }
    }
    for (int64_t g = 0; g < groups; ++g, x_scales += rows, offsets += rows, packed += group_size) {
      const auto* w_scales = packed + static_cast<int64_t>(sizeof(uint16_t)) * part;
      const auto* w = packed + static_cast<int64_t>(sizeof(uint16_t)) * kPanelOutputs + kQuad * part;
      IntegerVector products[rows][vectors];
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < vectors; ++j) products[r][j] = hn::Set(integers, offsets[r]);
      }
      for (int64_t quad = 0; quad < group / kQuad; quad += int4 ? 2 : 1, w += kQuad * kPanelOutputs) {
        if (shares) {
          prefetch<PrefetchTo::second_cache>(next, kLine);
          next += kLine;
        }
        ByteVector first[vectors];
        [[maybe_unused]] ByteVector second[vectors];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; ++j) {
          const auto* from = w + j / in_panel * step + j % in_panel * vector_bytes;
          if (!shares) prefetch(from + kAhead, vector_bytes);
          const auto loaded = hn::LoadU(bytes, reinterpret_cast<const uint8_t*>(from));
          if constexpr (int4) {
            first[j] = hn::And(loaded, low_bits);
            second[j] = hn::And(hn::BitCast(bytes, hn::ShiftRight<4>(hn::BitCast(pairs, loaded))), low_bits);
          } else {
            first[j] = loaded;
          }
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
          for (int j = 0; j < vectors; ++j) products[r][j] = add_products(products[r][j], first[j], x + r * kQuadBytes);
        }
        x += rows * kQuadBytes;
        if constexpr (int4) {
#pragma GCC unroll 12
          for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
            for (int j = 0; j < vectors; ++j) {
              products[r][j] = add_products(products[r][j], second[j], x + r * kQuadBytes);
            }
          }
          x += rows * kQuadBytes;
        }
      }
      FloatVector w_scale[vectors];
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) {
        const auto* scales = reinterpret_cast<const uint16_t*>(w_scales + j / in_panel * step);
        w_scale[j] = load_floats(scales + j % in_panel * kLanes);
      }
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r) {
        const auto x_scale = hn::Set(d, x_scales[r]);
#pragma GCC unroll 8
        for (int j = 0; j < vectors; ++j) {
          sum[r][j] = hn::MulAdd(hn::Mul(hn::ConvertTo(d, products[r][j]), x_scale), w_scale[j], sum[r][j]);
        }
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) hn::StoreU(sum[r][j], d, y + r * product.y_row + j * kLanes);
    }
  }
}

#else  // any other CPU: plain loops over the integers

constexpr int quantised_panels_of(int) { return 1; }

template <int rows, int panels, WeightFormat format>
void quantised_tile(const TileProduct& product) {
  constexpr bool int4 = format == WeightFormat::int4;
  const int64_t group = group_inputs(format);
  for (int r = 0; r < rows && !product.continues; ++r) std::fill_n(product.y + r * product.y_row, kPanelOutputs, 0.0f);
  const std::byte* packed = product.weights;
  for (int64_t g = 0; g < product.inputs / group; ++g, packed += panel_bytes(format, group)) {
    const auto* scales = reinterpret_cast<const uint16_t*>(packed);
    const auto* w = reinterpret_cast<const uint8_t*>(scales + kPanelOutputs);
    for (int r = 0; r < rows; ++r) {
      const float x_scale = product.scales[g * rows + r];
      for (int64_t o = 0; o < kPanelOutputs; ++o) {
        int32_t sum = product.offsets[g * rows + r];
        for (int64_t i = 0; i < group; ++i) {
          const int64_t quad = i / kQuad, in_quad = i % kQuad;
          const auto* x =
              static_cast<const int16_t*>(product.activations) + ((g * group / kQuad + quad) * rows + r) * kQuad;
          const int activation = x[in_quad % 2 * 2 + in_quad / 2];  // stored as inputs 0, 2, 1, 3
          const int64_t byte = ((int4 ? quad / 2 : quad) * kPanelOutputs + o) * kQuad + in_quad;
          sum += activation * (int4 ? w[byte] >> quad % 2 * 4 & 15 : w[byte]);
        }
        product.y[r * product.y_row + o] += static_cast<float>(sum) * x_scale * from_bfloat16(scales[o]);
      }
    }
  }
}

#endif

template <int rows, int panels>
void panels_of_rows(const TileProduct& product) {
  switch (product.format) {
    case WeightFormat::float32:
      return float_tile<rows, panels, float>(product);
    case WeightFormat::bfloat16:
      return float_tile<rows, panels, uint16_t>(product);
    case WeightFormat::int8:
      if constexpr (panels <= quantised_panels_of(rows))
        return quantised_tile<rows, panels, WeightFormat::int8>(product);
      break;
    case WeightFormat::int4:
      if constexpr (panels <= quantised_panels_of(rows))
        return quantised_tile<rows, panels, WeightFormat::int4>(product);
      break;
  }
}

// As many panels at once as there are and as `rows` rows can take.
template <int rows>
void tile_of_rows(TileProduct product) {
  const int most = group_inputs(product.format) == 1 ? panels_of(rows) : quantised_panels_of(rows);
  for (int64_t left = product.panels; left > 0;) {
    int taken = 1;
    if (panels_of(rows) >= 4 && most >= 4 && left >= 4) {
      if constexpr (panels_of(rows) >= 4) panels_of_rows<rows, 4>(product);
      taken = 4;
    } else if (panels_of(rows) >= 2 && most >= 2 && left >= 2) {
      if constexpr (panels_of(rows) >= 2) panels_of_rows<rows, 2>(product);
      taken = 2;
    } else {
      panels_of_rows<rows, 1>(product);
    }
    left -= taken;
    product.weights += taken * product.panel_step;
    product.y += taken * kPanelOutputs;
  }
}

template <int rows = kMostRows>
void find_tile(const TileProduct& product) {
  if (product.rows == rows) return tile_of_rows<rows>(product);
  if constexpr (rows > 1) find_tile<rows - 1>(product);
}

void tile(const TileProduct& product) { find_tile(product); }

int64_t most_rows() { return kMostRows; }
int64_t quad_bytes() { return kQuadBytes; }

float quantise(const float* HWY_RESTRICT x, int64_t size, int8_t* HWY_RESTRICT quantised) {
  const hn::CappedTag<float, 8> d;
  const hn::Rebind<int16_t, decltype(d)> words;
  const hn::Rebind<int8_t, decltype(d)> bytes;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto most = hn::Zero(d);
  auto check = hn::Zero(d);  // NaN where x has a NaN or an infinity: 0 * x
  for (int64_t i = 0; i < size; i += lanes) {
    const auto value = hn::LoadU(d, x + i);
    most = hn::Max(most, hn::Abs(value));
    check = hn::Add(check, hn::Mul(value, hn::Zero(d)));
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  const float broken = hn::GetLane(hn::SumOfLanes(d, check));
  if (broken != 0.0f || largest < 127.0f * std::numeric_limits<float>::min()) {
    std::memset(quantised, 0, static_cast<size_t>(size));
    return broken != 0.0f ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  }
  const auto steps = hn::Set(d, 127.0f / largest);
  for (int64_t i = 0; i < size; i += lanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), steps));
    hn::StoreU(hn::DemoteTo(bytes, hn::DemoteTo(words, rounded)), bytes, quantised + i);
  }
  return largest / 127.0f;
}

void widen(const uint16_t* HWY_RESTRICT from, float* HWY_RESTRICT to, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) hn::StoreU(load_floats(from + i), Float(), to + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dlcm {

HWY_EXPORT(tile);
HWY_EXPORT(most_rows);
HWY_EXPORT(quad_bytes);
HWY_EXPORT(quantise);
HWY_EXPORT(widen);

void multiply_tile(const TileProduct& product) { HWY_DYNAMIC_DISPATCH(tile)(product); }
int64_t most_tile_rows() { return HWY_DYNAMIC_DISPATCH(most_rows)(); }
int64_t activation_quad_bytes() { return HWY_DYNAMIC_DISPATCH(quad_bytes)(); }

float quantise_group(const float* x, int64_t size, int8_t* quantised) {
  return HWY_DYNAMIC_DISPATCH(quantise)(x, size, quantised);
}

void widen_bfloat16(const std::byte* bfloat16, float* wide, int64_t size) {
  HWY_DYNAMIC_DISPATCH(widen)(reinterpret_cast<const uint16_t*>(bfloat16), wide, size);
}

void pack_float_activations(const float* x, int64_t x_row, int64_t rows, int64_t inputs, float* packed) {
  // Blocks of inputs keep what is read and written in the first cache.
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < inputs; begin += kBlock) {
    const int64_t end = std::min(inputs, begin + kBlock);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = begin; i < end; ++i) packed[i * rows + r] = x[r * x_row + i];
    }
  }
}

void pack_quantised_activations(WeightFormat format, const float* x, int64_t x_row, int64_t rows, int64_t inputs,
                                std::byte* packed, float* scales, int32_t* offsets) {
  constexpr int64_t kQuad = 4, kMostGroup = 64;
  const int64_t group = group_inputs(format), groups = (inputs + group - 1) / group;
  const int32_t weight_offset = format == WeightFormat::int4 ? 8 : 128;
  const int64_t entry = activation_quad_bytes();
  const auto quantise = HWY_DYNAMIC_DISPATCH(quantise);
  for (int64_t g = 0; g < groups; ++g) {
    std::byte* group_start = packed + g * (group / kQuad) * rows * entry;
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = x + r * x_row + g * group;
      alignas(64) float padded[kMostGroup] = {};
      if ((g + 1) * group > inputs) {
        std::copy(from, from + (inputs - g * group), padded);
        from = padded;
      }
      alignas(64) int8_t quantised[kMostGroup];
      scales[g * rows + r] = quantise(from, group, quantised);
      int32_t sum = 0;
      for (int64_t i = 0; i < group; ++i) sum += quantised[i];
      offsets[g * rows + r] = -weight_offset * sum;
      for (int64_t quad = 0; quad < group / kQuad; ++quad) {
        const int8_t* four = quantised + quad * kQuad;
        std::byte* to = group_start + (quad * rows + r) * entry;
        if (entry == kQuad) {
          std::memcpy(to, four, kQuad);
        } else {
          const int16_t even_odd[kQuad] = {four[0], four[2], four[1], four[3]};
          std::memcpy(to, even_odd, sizeof(even_odd));
        }
      }
    }
  }
}

}  // namespace dlcm
#endif
