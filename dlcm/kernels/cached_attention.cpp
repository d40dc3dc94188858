#include "dlcm/kernels/cached_attention.h"

#include "dlcm/kernels/attention_tile.h"
#include "dlcm/kernels/packed_matrix.h"
#include "dlcm/kernels/product_tiles.h"
#include "dlcm/kernels/scratch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace dlcm {
namespace {

constexpr int64_t kPart = 1024;  // keys whose sums are taken for themselves
constexpr int64_t kMostRows = 12;
static_assert(kPart % kCacheBlock == 0);

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Query rows of one key head of one sequence, numbered by (row, query head of the group): what one thread takes.
struct Task {
  const AttentionWork* work;
  int64_t kv_head;
  int64_t first, rows;
  int64_t first_key, last_key;  // that some row sees; the first one of a block

  int64_t first_part() const { return first_key / kPart; }
  int64_t parts() const { return divide_up(last_key, kPart); }
};

class Tile {
 public:
  Tile(const Task& task, int64_t heads) : task_(task), group_(heads / task.work->cache->shape().kv_heads) {
    const auto& work = *task.work;
    const int64_t size = work.cache->shape().head_size;
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    thread_local Scratch scratch;
    queries_ = scratch.floats(size * task.rows);
    for (int64_t r = 0; r < task.rows; ++r) {
      const float* query = work.queries + row(r) * work.query_row + head(r) * size;
      for (int64_t i = 0; i < size; ++i) queries_[i * task.rows + r] = query[i] * scale;
      begin_[static_cast<size_t>(r)] = work.begin == nullptr ? 0 : work.begin[row(r)];
      end_[static_cast<size_t>(r)] = work.end[row(r)];
      if (work.last_key_bias != nullptr) last_key_bias_[static_cast<size_t>(r)] = work.last_key_bias[row(r)];
    }
  }

  void sum_part(int64_t part, const AttentionSums& sums) const {
    const auto& work = *task_.work;
    attend_tile({.cache = work.cache,
                 .kv_head = task_.kv_head,
                 .rows = task_.rows,
                 .queries = queries_,
                 .first = std::max(task_.first_key, part * kPart),
                 .last = std::min(task_.last_key, (part + 1) * kPart),
                 .begin = begin_.data(),
                 .end = end_.data(),
                 .key_bias = work.key_bias,
                 .last_key_bias = work.last_key_bias == nullptr ? nullptr : last_key_bias_.data()},
                sums);
  }

  void write(const AttentionSums& sums) const {
    const auto& work = *task_.work;
    const int64_t size = work.cache->shape().head_size;
    for (int64_t r = 0; r < task_.rows; ++r) {
      const float inverse = sums.total[r] > 0.0f ? 1.0f / sums.total[r] : 0.0f;
      const bool broken = sums.total[r] != sums.total[r];
      const float factor = broken ? std::numeric_limits<float>::quiet_NaN() : inverse;
      float* out = work.out + row(r) * work.out_row + head(r) * size;
      // 0 is added because the keys that only other rows see may have turned -0 into 0.
      for (int64_t i = 0; i < size; ++i) out[i] = sums.o[r * sums.o_row + i] * factor + 0.0f;
    }
  }

 private:
  int64_t row(int64_t r) const { return (task_.first + r) / group_; }
  int64_t head(int64_t r) const { return task_.kv_head * group_ + (task_.first + r) % group_; }

  const Task& task_;
  int64_t group_;
  float* queries_;
  std::array<int64_t, kMostRows> begin_, end_;
  std::array<float, kMostRows> last_key_bias_;
};

// Floats of the sums of one tile, and the sums that lie there.
int64_t sums_size(const Task& task) {
  const int64_t o_row = task.work->cache->shape().value_panels() * kPanelOutputs;
  return kMostRows * (o_row + kPanelOutputs);
}

AttentionSums sums_at(const Task& task, float* memory) {
  const int64_t o_row = task.work->cache->shape().value_panels() * kPanelOutputs;
  float* beside = memory + kMostRows * o_row;
  return {.largest = beside, .total = beside + kMostRows, .o = memory, .o_row = o_row};
}

void clear(const Task& task, const AttentionSums& sums) {
  std::fill_n(sums.largest, task.rows, -std::numeric_limits<float>::infinity());
  std::fill_n(sums.total, task.rows, 0.0f);
  std::fill_n(sums.o, task.rows * sums.o_row, 0.0f);
}

std::vector<Task> tasks_of(int64_t heads, std::span<const AttentionWork> works) {
  std::vector<Task> tasks;
  const int64_t most_rows = most_tile_rows();
  for (const auto& work : works) {
    const int64_t kv_heads = work.cache->shape().kv_heads, group = heads / kv_heads;
    const int64_t rows = work.rows * group, tiles = divide_up(rows, most_rows);
    for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t first = rows * tile / tiles, last = rows * (tile + 1) / tiles;
        const int64_t first_row = first / group, last_row = divide_up(last, group);
        const int64_t last_key = *std::max_element(work.end + first_row, work.end + last_row);
        const int64_t first_key =
            work.begin == nullptr ? 0 : *std::min_element(work.begin + first_row, work.begin + last_row);
        tasks.push_back({&work, kv_head, first, last - first, first_key / kCacheBlock * kCacheBlock, last_key});
      }
    }
  }
  return tasks;
}

}  // namespace

void attend(ThreadPool& threads, int64_t heads, std::span<const AttentionWork> works) {
  constexpr int64_t kTasksOfThread = 16;  // so many that no thread waits long for the last one
  const auto tasks = tasks_of(heads, works);
  const auto count = static_cast<int64_t>(tasks.size());
  int64_t most_parts = 1, most_floats = 0;
  for (const auto& task : tasks) {
    most_parts = std::max(most_parts, task.parts());
    most_floats = std::max(most_floats, sums_size(task));
  }
  if (count >= kTasksOfThread * threads.threads() || most_parts == 1 || threads.threads() == 1) {
    threads.run(count, [&](int64_t i) {
      const auto& task = tasks[static_cast<size_t>(i)];
      thread_local Scratch scratch;
      float* memory = scratch.floats(2 * most_floats);
      const auto all = sums_at(task, memory), one = sums_at(task, memory + most_floats);
      const Tile tile(task, heads);
      clear(task, all);
      for (int64_t part = task.first_part(); part < task.parts(); ++part) {
        tile.sum_part(part, one);
        add_sums(task.rows, all, one);
      }
      tile.write(all);
    });
    return;
  }
  // Too few heads: threads share the parts, neighbouring heads of one after the other as they lie in memory, and the
  // sums are put together afterwards.
  thread_local Scratch scratch;
  float* memory = scratch.floats((most_parts * count + 1) * most_floats);
  threads.run(most_parts * count, [&](int64_t i) {
    const auto& task = tasks[static_cast<size_t>(i % count)];
    const int64_t part = i / count;
    if (part >= task.first_part() && part < task.parts()) {
      Tile(task, heads).sum_part(part, sums_at(task, memory + i * most_floats));
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const auto& task = tasks[static_cast<size_t>(i)];
    const auto all = sums_at(task, memory + most_parts * count * most_floats);
    clear(task, all);
    for (int64_t part = task.first_part(); part < task.parts(); ++part) {
      add_sums(task.rows, all, sums_at(task, memory + (part * count + i) * most_floats));
    }
    Tile(task, heads).write(all);
  }
}

}  // namespace dlcm
