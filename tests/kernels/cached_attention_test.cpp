#include "dlcm/kernels/cached_attention.h"

#include "dlcm/kernels/bfloat16.h"
#include "tests/kernels/instruction_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace dlcm {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_size;
  CacheFormat format = CacheFormat::float32;
};

// One sequence: keys, values and queries of all its places, [places, heads, head_size].
struct Text {
  Shape shape;
  int64_t places;
  std::vector<float> keys, values, queries;
  std::vector<float> key_bias, last_key_bias;  // optional

  Text(const Shape& text_shape, int64_t count, uint64_t seed, float query_scale = 1.0f)
      : shape(text_shape), places(count) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values_of, int64_t heads, float scale) {
      values_of.resize(static_cast<size_t>(places * heads * shape.head_size));
      for (auto& value : values_of) value = scale * normal(random);
    };
    fill(keys, shape.kv_heads, 1.0f);
    fill(values, shape.kv_heads, 1.0f);
    fill(queries, shape.heads, query_scale);
  }

  void add_biases(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<float> uniform(0.0f, 3.0f);
    for (auto* bias : {&key_bias, &last_key_bias}) {
      bias->resize(static_cast<size_t>(places));
      for (auto& value : *bias) value = uniform(random);
    }
  }

  KeyValueCache cache(int64_t size) const {
    ThreadPool threads(2);
    KeyValueCache cache({shape.format, shape.kv_heads, shape.head_size});
    const int64_t row = shape.kv_heads * shape.head_size;
    for (int64_t i = 0; i < size;) {  // in uneven pieces
      const int64_t rows = std::min(size - i, 1 + i * 7 % 29);
      cache.append(threads, keys.data() + i * row, values.data() + i * row, rows, row);
      i += rows;
    }
    return cache;
  }

  int64_t row() const { return shape.heads * shape.head_size; }

  // Rows [first, last), row i reading places [begin(i), end(i)), from 0 where there are no begins.
  std::vector<float> attended(const KeyValueCache& cache, int64_t first, int64_t last, int threads,
                              const std::vector<int64_t>& end, const std::vector<int64_t>& begin = {}) const {
    ThreadPool pool(threads);
    std::vector<float> out(static_cast<size_t>((last - first) * row()), -3.0f);
    const std::vector<int64_t> ends(end.begin() + first, end.begin() + last);
    const AttentionWork work{.cache = &cache,
                             .rows = last - first,
                             .queries = queries.data() + first * row(),
                             .query_row = row(),
                             .out = out.data(),
                             .out_row = row(),
                             .end = ends.data(),
                             .begin = begin.empty() ? nullptr : begin.data() + first,
                             .key_bias = key_bias.empty() ? nullptr : key_bias.data(),
                             .last_key_bias = last_key_bias.empty() ? nullptr : last_key_bias.data() + first};
    attend(pool, shape.heads, {&work, 1});
    return out;
  }

  // In double, from the numbers as the cache rounds them.
  std::vector<float> expected(int64_t query, int64_t end, int64_t begin = 0) const {
    std::vector<float> out(static_cast<size_t>(row()), 0.0f);
    const auto stored = [&](float value) {
      return static_cast<double>(shape.format == CacheFormat::float32 ? value : from_bfloat16(to_bfloat16(value)));
    };
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t kv_head = head / (shape.heads / shape.kv_heads);
      const float* q = queries.data() + query * row() + head * shape.head_size;
      std::vector<double> scores;
      for (int64_t s = begin; s < end; ++s) {
        const float* k = keys.data() + (s * shape.kv_heads + kv_head) * shape.head_size;
        double score = 0.0;
        for (int64_t i = 0; i < shape.head_size; ++i) score += static_cast<double>(q[i]) * stored(k[i]);
        score /= std::sqrt(static_cast<double>(shape.head_size));
        if (s == end - 1 && !last_key_bias.empty()) {
          score += last_key_bias[static_cast<size_t>(query)];
        } else if (!key_bias.empty()) {
          score += key_bias[static_cast<size_t>(s)];
        }
        scores.push_back(score);
      }
      if (end == 0) continue;
      const double largest = *std::max_element(scores.begin(), scores.end());
      double total = 0.0;
      std::vector<double> mixed(static_cast<size_t>(shape.head_size), 0.0);
      for (int64_t s = begin; s < end; ++s) {
        const double weight = std::exp(scores[static_cast<size_t>(s - begin)] - largest);
        const float* v = values.data() + (s * shape.kv_heads + kv_head) * shape.head_size;
        for (int64_t i = 0; i < shape.head_size; ++i) mixed[static_cast<size_t>(i)] += weight * stored(v[i]);
        total += weight;
      }
      for (int64_t i = 0; i < shape.head_size; ++i) {
        out[static_cast<size_t>(head * shape.head_size + i)] =
            static_cast<float>(mixed[static_cast<size_t>(i)] / total);
      }
    }
    return out;
  }
};

std::vector<int64_t> causal(int64_t places) {
  std::vector<int64_t> end;
  for (int64_t i = 1; i <= places; ++i) end.push_back(i);
  return end;
}

constexpr Shape kShapes[] = {{4, 4, 32},
                             {6, 3, 64},
                             {6, 2, 20},
                             {8, 1, 6},
                             {30, 1, 8},
                             {4, 2, 96, CacheFormat::bfloat16},
                             {3, 3, 64, CacheFormat::bfloat16}};

TEST(CachedAttention, IsSoftmaxOverTheKeysThatARowSees) {
  for (const auto& shape : kShapes) {
    for (const bool biased : {false, true}) {
      Text text(shape, 150, 1, 2.0f);
      if (biased) text.add_biases(2);
      const auto cache = text.cache(150);
      for (const int64_t set : instruction_sets()) {
        const OnInstructionSet on(set);
        const auto found = text.attended(cache, 0, 150, 2, causal(150));
        for (const int64_t query : {0, 1, 30, 31, 32, 63, 64, 65, 127, 128, 149}) {
          const auto expected = text.expected(query, query + 1);
          for (size_t i = 0; i < expected.size(); ++i) {
            ASSERT_NEAR(found[static_cast<size_t>(query * text.row()) + i], expected[i], 3e-5f)
                << hwy::TargetName(set) << " heads " << shape.heads << " query " << query;
          }
        }
      }
    }
  }
}

// Windows within a block of keys, over several blocks, and over parts whose sums are taken for themselves.
TEST(CachedAttention, AWindowIsSoftmaxOverItsKeysWhateverTheOtherRows) {
  for (const auto& shape : kShapes) {
    Text text(shape, 2300, 12, 2.0f);
    text.add_biases(13);
    const auto cache = text.cache(2300);
    const auto end = causal(2300);
    for (const int64_t window : {1, 5, 64, 100, 1500}) {
      std::vector<int64_t> begin;
      for (const int64_t last : end) begin.push_back(std::max<int64_t>(0, last - window));
      for (const int64_t set : instruction_sets()) {
        const OnInstructionSet on(set);
        const auto found = text.attended(cache, 2000, 2300, 1, end, begin);
        for (const int64_t query : {2000, 2047, 2048, 2112, 2299}) {
          const auto expected = text.expected(query, query + 1, query + 1 - std::min(window, query + 1));
          const auto alone = text.attended(cache, query, query + 1, 3, end, begin);
          for (size_t i = 0; i < expected.size(); ++i) {
            const float value = found[static_cast<size_t>((query - 2000) * text.row()) + i];
            ASSERT_NEAR(value, expected[i], 3e-5f)
                << hwy::TargetName(set) << " heads " << shape.heads << " query " << query << " window " << window;
            ASSERT_EQ(value, alone[i]) << hwy::TargetName(set) << " query " << query << " window " << window;
          }
        }
      }
    }
  }
}

TEST(CachedAttention, LongTextsAreAddedUpFromTheirParts) {
  Text text({4, 2, 64}, 2500, 3, 3.0f);
  text.add_biases(4);
  const auto cache = text.cache(2500);
  const auto found = text.attended(cache, 2400, 2500, 2, causal(2500));
  for (const int64_t query : {2400, 2499}) {
    const auto expected = text.expected(query, query + 1);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(found[static_cast<size_t>((query - 2400) * text.row()) + i], expected[i], 3e-5f);
    }
  }
}

TEST(CachedAttention, ARowDependsNeitherOnOthersNorOnChunksNorOnThreads) {
  for (const auto& shape : kShapes) {
    Text text(shape, 1300, 5, 2.0f);
    if (shape.heads % 2 == 0) text.add_biases(6);
    const auto end = causal(1300);
    const auto whole_cache = text.cache(1300);
    std::vector<std::vector<float>> of_sets;
    for (const int64_t set : fused_instruction_sets()) {
      const OnInstructionSet on(set);
      const auto whole = text.attended(whole_cache, 900, 1300, 1, end);
      of_sets.push_back(whole);
      for (const auto& [first, last] : {std::pair<int64_t, int64_t>{900, 901},
                                        {1023, 1024},
                                        {1024, 1025},
                                        {1299, 1300},
                                        {950, 957},
                                        {1000, 1100},
                                        {1020, 1027}}) {
        // As far as the text was known then, and with all that came later.
        for (const auto& cache : {text.cache(last), whole_cache}) {
          for (const int threads : {1, 2, 9}) {
            const auto found = text.attended(cache, first, last, threads, end);
            EXPECT_TRUE(std::equal(found.begin(), found.end(), whole.begin() + (first - 900) * text.row()))
                << hwy::TargetName(set) << " heads " << shape.heads << " rows " << first << " to " << last;
          }
        }
      }
    }
    for (const auto& whole : of_sets) EXPECT_EQ(whole, of_sets[0]);
  }
}

TEST(CachedAttention, SequencesOfABatchDoNotMeet) {
  constexpr Shape kShape{6, 2, 32, CacheFormat::bfloat16};
  const int64_t lengths[] = {1, 700, 64, 33, 1500};
  std::vector<Text> texts;
  std::vector<KeyValueCache> caches;
  std::vector<std::vector<float>> outs, alone;
  std::vector<std::vector<int64_t>> ends;
  for (const int64_t length : lengths) {
    texts.emplace_back(kShape, length, static_cast<uint64_t>(length));
    caches.push_back(texts.back().cache(length));
    ends.push_back(causal(length));
  }
  std::vector<AttentionWork> works;
  for (size_t i = 0; i < texts.size(); ++i) {
    const int64_t rows = std::min<int64_t>(texts[i].places, 3), first = texts[i].places - rows, row = texts[i].row();
    alone.push_back(texts[i].attended(caches[i], first, texts[i].places, 1, ends[i]));
    outs.emplace_back(static_cast<size_t>(rows * row));
    works.push_back({.cache = &caches[i],
                     .rows = rows,
                     .queries = texts[i].queries.data() + first * row,
                     .query_row = row,
                     .out = outs[i].data(),
                     .out_row = row,
                     .end = ends[i].data() + first});
  }
  ThreadPool threads(3);
  attend(threads, kShape.heads, works);
  EXPECT_EQ(outs, alone);
}

TEST(CachedAttention, ARowThatSeesNothingIsZero) {
  const Text text({2, 1, 16}, 5, 7);
  const auto cache = text.cache(5);
  const auto out = text.attended(cache, 0, 5, 2, {0, 0, 3, 0, 5});
  for (const int64_t query : {0, 1, 3}) {
    for (int64_t i = 0; i < text.row(); ++i) EXPECT_EQ(out[static_cast<size_t>(query * text.row() + i)], 0.0f);
  }
  EXPECT_NE(out[static_cast<size_t>(2 * text.row())], 0.0f);
}

TEST(CachedAttention, ScoresFarApartNeitherOverflowNorVanish) {
  const Text text({2, 2, 32}, 300, 8, 200.0f);
  const auto found = text.attended(text.cache(300), 299, 300, 1, causal(300));
  const auto expected = text.expected(299, 300);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-3f);
}

TEST(KeyValueCache, ACopyKeepsItsOwnPast) {
  const Text text({2, 2, 16}, 200, 9), other({2, 2, 16}, 200, 10);
  ThreadPool threads(1);
  const int64_t row = 2 * 16;
  for (const int64_t fork : {1, 63, 64, 100, 128}) {
    auto cache = text.cache(fork);
    auto copy = cache;
    cache.append(threads, text.keys.data() + fork * row, text.values.data() + fork * row, 200 - fork, row);
    copy.append(threads, other.keys.data() + fork * row, other.values.data() + fork * row, 200 - fork, row);
    EXPECT_EQ(cache.size(), 200);
    EXPECT_EQ(copy.size(), 200);
    const auto expected = text.attended(text.cache(200), 199, 200, 1, causal(200));
    EXPECT_EQ(text.attended(cache, 199, 200, 1, causal(200)), expected);
    EXPECT_NE(text.attended(copy, 199, 200, 1, causal(200)), expected);
    EXPECT_EQ(text.attended(copy, 0, fork, 1, causal(200)), text.attended(cache, 0, fork, 1, causal(200)));
  }
}

TEST(KeyValueCache, CountsItsBytes) {
  KeyValueCache cache({CacheFormat::bfloat16, 12, 64});
  EXPECT_EQ(cache.bytes(), 0);
  ThreadPool threads(1);
  const std::vector<float> rows(65 * 12 * 64);
  cache.append(threads, rows.data(), rows.data(), 65, 12 * 64);
  EXPECT_EQ(cache.bytes(), 2 * kCacheBlock * 12 * (64 + 64) * 2);
}

}  // namespace
}  // namespace dlcm
