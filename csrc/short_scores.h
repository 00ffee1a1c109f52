// The scores of one token as 16-bit multiples of a step that the token chooses: half the memory
// traffic of float32, and traffic is what every level after the first costs. The bound
// (score_bound.h) includes the rounding: half a step for the product, one step for each Gram row,
// one whenever the step grows.
#pragma once

#include <cstdint>

#include "codewords.h"
#include "gram_rows.h"
#include "short_vector.h"

namespace craft::CRAFT_ISA {

static_assert(kBlock % kShorts == 0 && kBlockGroup % kFloats == 0);

inline constexpr int16_t kLowest = -32768;  // the score of padding; no codeword's is as low
inline constexpr double kGreatest = 32700;  // magnitudes of scores that fit are no greater
inline constexpr double kLeastStep = 0x1p-110, kGreatestStep = 0x1p110;

// A step for scores whose magnitudes, bounds included, are at most `magnitude`.
CRAFT_INLINE float step_for(double magnitude) {
  const double step = magnitude / kGreatest;
  return static_cast<float>(step < kLeastStep      ? kLeastStep
                            : step < kGreatestStep ? step
                                                   : kGreatestStep);
}

// Converts the products with one block to scores and returns the greatest of them.
template <bool kHasMean>
CRAFT_INLINE int16_t store_scores(const float* products, const float* half_sq_norms,
                                  const float* along_mean, float along, float step, int16_t* out) {
  const FloatVector per_step = splat(1 / step), share = splat(along);
  ShortVector best = splat(kLowest);
#pragma GCC unroll 6
  for (int64_t j = 0; j < kBlock; j += kShorts) {
    FloatVector halves[2];
    for (int h = 0; h < 2; ++h) {
      const int64_t at = j + h * kFloats;
      FloatVector score = load(products + at) - load(half_sq_norms + at);
      if constexpr (kHasMean) score += share * load(along_mean + at);
      halves[h] = score * per_step;
    }
    const ShortVector scores = to_shorts(halves[0], halves[1]);
    store(out + j, scores);
    best = max(best, scores);
  }
  return max_lane(best);
}

// The greatest of a row's first `blocks` steps.
CRAFT_INLINE float greatest_step(const GramRow& row, int64_t blocks) {
  float greatest = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    greatest = row.steps()[b] > greatest ? row.steps()[b] : greatest;
  }
  return greatest;
}

// Subtracts the row from the scores and finds the greatest score of each block. For each cache line
// of the row, one line of the row needed next is prefetched.
CRAFT_INLINE void subtract_gram_row(const GramRow& row, int64_t P, float step, int16_t* scores,
                                    int16_t* maxima, const GramRow& next) {
  const int16_t* entries = row.entries(P);
  const auto* lines = reinterpret_cast<const char*>(next.entries(P));
  const int64_t blocks = P / kBlock;
  for (int64_t first = 0; first < blocks; first += kBlockGroup) {
    // 2^15 times the value of one unit of an entry, in steps of the score. In sound blocks that
    // fits.
    int16_t factors[kBlockGroup];
    for (int i = 0; i < kBlockGroup; ++i) {
      const float factor = row.steps()[first + i] * (0x1p15f / step);
      factors[i] = static_cast<int16_t>((factor < 32767 ? factor : 32767) + 0.5f);
    }
    for (int64_t b = first; b < first + kBlockGroup && b < blocks; ++b) {
      const int64_t at = b * kBlock;
      const ShortVector factor = splat(factors[b - first]);
      ShortVector best = splat(kLowest);
      for (int64_t byte = 0; byte < 2 * kBlock; byte += 64) {
        __builtin_prefetch(lines + 2 * at + byte);
      }
#pragma GCC unroll 6
      for (int64_t j = at; j < at + kBlock; j += kShorts) {
        const ShortVector loss = scaled_product(load(entries + j), factor);
        const ShortVector score = saturated_difference(load(scores + j), loss);
        store(scores + j, score);
        best = max(best, score);
      }
      maxima[b] = max_lane(best);
    }
  }
}

// Converts the scores to a step that is `ratio` times as great.
CRAFT_INLINE void enlarge_step(double ratio, int64_t K, int64_t P, int16_t* scores) {
  const ShortVector factor = splat(static_cast<int16_t>(0x1p15 / ratio + 0.5));
  for (int64_t j = 0; j < P; j += kShorts)
    store(scores + j, scaled_product(load(scores + j), factor));
  for (int64_t j = K; j < P; ++j) scores[j] = kLowest;
}

}  // namespace craft::CRAFT_ISA
