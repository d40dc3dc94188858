// `multiply`: cuts a product into tasks for the threads and tiles for the registers so that few rows read the weights
// once, in order, and many rows compute from the caches. Stretches of inputs hand their sums on through y, which leaves
// every chain of sums as it is.
#include "dlcm/kernels/packed_matrix.h"
#include "dlcm/kernels/product_tiles.h"
#include "dlcm/kernels/scratch.h"

#include <algorithm>

namespace dlcm {
namespace {

// Inputs of a panel that stay in the first cache while tiles of rows pass by.
int64_t stretch_inputs(WeightFormat format) {
  switch (format) {
    case WeightFormat::int8:
      return 512;
    case WeightFormat::int4:
      return 1024;
    default:
      return 256;
  }
}

constexpr int64_t kPanelsOfTask = 8;     // whose stretches stay in the second cache together
constexpr int64_t kTasksOfThread = 16;   // where rows are few
constexpr int64_t kLeastWork = 1 << 15;  // products below which waking the threads costs more than it gains
constexpr int64_t kTilesThatWiden = 6;   // bfloat16 is widened once for so many tiles of rows

bool is_quantised(WeightFormat format) { return format == WeightFormat::int8 || format == WeightFormat::int4; }

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// The activations, packed for tiles of rows of nearly equal height.
class Activations {
 public:
  Activations(ThreadPool& threads, WeightFormat format, int64_t inputs, const float* x_RI, int64_t rows)
      : format_(format),
        rows_(rows),
        tiles_(divide_up(rows, most_tile_rows())),
        groups_(divide_up(inputs, group_inputs(format))),
        input_bytes_(is_quantised(format) ? activation_quad_bytes() / 4 : static_cast<int64_t>(sizeof(float))) {
    const int64_t padded = groups_ * group_inputs(format);
    const auto bytes = static_cast<size_t>(rows * padded * input_bytes_);
    const auto side = is_quantised(format) ? static_cast<size_t>(rows * groups_) : 0;
    thread_local Scratch scratch;
    data_ = scratch.of_size((bytes + 63) / 64 * 64 + side * (sizeof(float) + sizeof(int32_t)));
    scales_ = reinterpret_cast<float*>(data_ + (bytes + 63) / 64 * 64);
    offsets_ = reinterpret_cast<int32_t*>(scales_ + side);
    const auto pack_tile = [&](int64_t tile) {
      const float* x = x_RI + first_row(tile) * inputs;
      if (is_quantised(format_)) {
        const int64_t at = first_row(tile) * groups_;
        pack_quantised_activations(format_, x, inputs, rows_of(tile), inputs, tile_data(tile), scales_ + at,
                                   offsets_ + at);
      } else {
        pack_float_activations(x, inputs, rows_of(tile), inputs, reinterpret_cast<float*>(tile_data(tile)));
      }
    };
    threads.run(tiles_, pack_tile);
  }

  int64_t tiles() const { return tiles_; }
  int64_t first_row(int64_t tile) const { return rows_ * tile / tiles_; }
  int64_t rows_of(int64_t tile) const { return first_row(tile + 1) - first_row(tile); }

  // The product of a tile with weights of [first, first + inputs); y and weights are still to be set.
  TileProduct product(int64_t tile, int64_t first, int64_t inputs) const {
    const int64_t rows = rows_of(tile);
    const int64_t at = first_row(tile) * groups_ + first / group_inputs(format_) * rows;
    return {.format = format_,
            .rows = rows,
            .inputs = divide_up(inputs, group_inputs(format_)) * group_inputs(format_),
            .activations = tile_data(tile) + first * rows * input_bytes_,
            .scales = scales_ + at,
            .offsets = offsets_ + at,
            .weights = nullptr,
            .panels = 0,
            .panel_step = 0,
            .y = nullptr,
            .y_row = 0,
            .continues = first > 0,
            .prefetch = nullptr};
  }

 private:
  std::byte* tile_data(int64_t tile) const {
    return data_ + first_row(tile) * groups_ * group_inputs(format_) * input_bytes_;
  }

  WeightFormat format_;
  int64_t rows_, tiles_, groups_, input_bytes_;
  std::byte* data_;
  float* scales_;
  int32_t* offsets_;
};

// A tile's product with the panels from `panel` on, into y [rows, outputs].
void multiply_tile_into(TileProduct product, const PackedMatrix& matrix, int64_t panel, float* y_of_tile) {
  const int64_t first = panel * kPanelOutputs;
  const int64_t whole = std::min(product.panels, (matrix.outputs - first) / kPanelOutputs);
  float* y = y_of_tile + first;
  if (whole > 0) {
    auto whole_panels = product;
    whole_panels.panels = whole;
    whole_panels.y = y;
    whole_panels.y_row = matrix.outputs;
    multiply_tile(whole_panels);
  }
  if (whole == product.panels) return;
  // The last panel's missing outputs have no place in y.
  constexpr int64_t kMostRows = 12;
  const int64_t present = matrix.outputs % kPanelOutputs;
  alignas(64) float last[kMostRows * kPanelOutputs] = {};
  y += whole * kPanelOutputs;
  for (int64_t r = 0; product.continues && r < product.rows; ++r) {
    std::copy_n(y + r * matrix.outputs, present, last + r * kPanelOutputs);
  }
  product.weights += whole * product.panel_step;
  product.panels = 1;
  product.y = last;
  product.y_row = kPanelOutputs;
  multiply_tile(product);
  for (int64_t r = 0; r < product.rows; ++r) {
    std::copy_n(last + r * kPanelOutputs, present, y + r * matrix.outputs);
  }
}

void multiply_panels(const PackedMatrix& matrix, const Activations& activations, int64_t first_panel,
                     int64_t last_panel, float* y_RO) {
  const size_t panel_size = panel_bytes(matrix.format, matrix.inputs);
  const bool widens = matrix.format == WeightFormat::bfloat16 && activations.tiles() >= kTilesThatWiden;
  // One tile has nobody to share the first cache with.
  const int64_t stretch = activations.tiles() == 1 ? matrix.inputs : stretch_inputs(matrix.format);
  for (int64_t first = 0; first < matrix.inputs; first += stretch) {
    const int64_t inputs = std::min(stretch, matrix.inputs - first);
    const std::byte* weights =
        matrix.data + static_cast<size_t>(first_panel) * panel_size + panel_bytes(matrix.format, first);
    size_t weights_step = panel_size;
    if (widens) {
      thread_local Scratch scratch;
      const auto wide_bytes = panel_bytes(WeightFormat::float32, inputs);
      std::byte* wide = scratch.of_size(wide_bytes * static_cast<size_t>(last_panel - first_panel));
      for (int64_t panel = first_panel; panel < last_panel; ++panel) {
        const auto at = static_cast<size_t>(panel - first_panel);
        widen_bfloat16(weights + at * panel_size, reinterpret_cast<float*>(wide + at * wide_bytes),
                       inputs * kPanelOutputs);
      }
      weights = wide;
      weights_step = wide_bytes;
    }
    for (int64_t tile = 0; tile < activations.tiles(); ++tile) {
      auto product = activations.product(tile, first, inputs);
      if (widens) product.format = WeightFormat::float32;
      product.weights = weights;
      product.panels = last_panel - first_panel;
      product.panel_step = static_cast<int64_t>(weights_step);
      if (activations.tiles() == 2) {  // at one panel: what lies behind it is read next
        const auto bytes = static_cast<int64_t>(panel_bytes(matrix.format, inputs));
        product.prefetch = weights + bytes + tile * bytes / 2;
      }
      multiply_tile_into(product, matrix, first_panel, y_RO + activations.first_row(tile) * matrix.outputs);
    }
  }
}

}  // namespace

void multiply(ThreadPool& threads, const PackedMatrix& matrix, const float* x_RI, int64_t rows, float* y_RO) {
  if (rows == 0) return;
  const Activations activations(threads, matrix.format, matrix.inputs, x_RI, rows);
  const int64_t panels = divide_up(matrix.outputs, kPanelOutputs);
  const auto multiply_range = [&](int64_t first, int64_t last) {
    // Two tiles read the weights once where they take turns at each panel.
    const int64_t at_once = activations.tiles() == 2 ? 1 : last - first;
    for (; first < last; first += at_once) multiply_panels(matrix, activations, first, first + at_once, y_RO);
  };
  if (rows * matrix.outputs * matrix.inputs < kLeastWork) return multiply_range(0, panels);
  const int64_t of_task = std::clamp<int64_t>(panels / (threads.threads() * kTasksOfThread), 1, kPanelsOfTask);
  threads.run(divide_up(panels, of_task),
              [&](int64_t task) { multiply_range(task * of_task, std::min(panels, (task + 1) * of_task)); });
}

}  // namespace dlcm
