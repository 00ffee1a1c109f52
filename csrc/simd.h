// Vectors as wide as those of the instruction set being compiled for, in the vector extension that
// GCC and Clang share. All arithmetic is IEEE arithmetic, lane by lane.
#pragma once

#include <cstdint>

#include "host_device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace craft::CRAFT_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

inline constexpr int kFloats = kVectorBytes / 4;   // float lanes of a vector
inline constexpr int kDoubles = kVectorBytes / 8;  // double lanes of a vector

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef float HalfFloatVector __attribute__((vector_size(kVectorBytes / 2)));
typedef int32_t IntVector __attribute__((vector_size(kVectorBytes)));
typedef int16_t HalfShortVector __attribute__((vector_size(kVectorBytes / 2)));

CRAFT_INLINE FloatVector load(const float* p) {
  FloatVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

CRAFT_INLINE void store(float* p, FloatVector v) { __builtin_memcpy(p, &v, sizeof v); }

// kDoubles consecutive floats, widened (which is exact). GCC 12 splits the generic conversion, here
// and in the next function, into halves; hence the intrinsics.
CRAFT_INLINE DoubleVector load_wide(const float* p) {
#if defined(__AVX512F__)
  return (DoubleVector)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif defined(__AVX2__)
  return (DoubleVector)_mm256_cvtps_pd(_mm_loadu_ps(p));
#else
  HalfFloatVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, DoubleVector);
#endif
}

// kFloats consecutive 16-bit integers, as floats (which is exact).
CRAFT_INLINE FloatVector load_integers(const int16_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p)));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p)));
#else
  HalfShortVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(__builtin_convertvector(v, IntVector), FloatVector);
#endif
}

CRAFT_INLINE FloatVector splat(float x) { return x - FloatVector{}; }

CRAFT_INLINE FloatVector max(FloatVector a, FloatVector b) { return a > b ? a : b; }

// Bit i says whether lane i of v is below that of x; false for NaN.
CRAFT_INLINE uint32_t below(FloatVector v, FloatVector x) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)v, (__m512)x, _CMP_LT_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)_mm256_cmp_ps((__m256)v, (__m256)x, _CMP_LT_OQ));
#else
  uint32_t lanes = 0;
  for (int i = 0; i < kFloats; ++i) lanes |= static_cast<uint32_t>(v[i] < x[i]) << i;
  return lanes;
#endif
}

// Folds halves, because a chain over the lanes would take several times as long.
CRAFT_INLINE float max_lane(FloatVector v) {
  float lanes[kFloats];
  __builtin_memcpy(lanes, &v, sizeof v);
#pragma GCC unroll 4
  for (int half = kFloats / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) {
      lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    }
  }
  return lanes[0];
}

#if defined(__AVX512F__)
#define CRAFT_EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define CRAFT_ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX2__)
#define CRAFT_EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#define CRAFT_ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15
#else
#define CRAFT_EVEN_LANES 0, 2, 4, 6
#define CRAFT_ODD_LANES 1, 3, 5, 7
#endif
#if defined(__clang__)
#define CRAFT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CRAFT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (IntVector){__VA_ARGS__})
#endif

// In lane i, the greatest lane of rows[i]; overwrites the rows. Each step takes the greater of
// every two neighbours of two concatenated rows.
CRAFT_INLINE FloatVector max_lanes(FloatVector (&rows)[kFloats]) {
#pragma GCC unroll 4
  for (int left = kFloats / 2; left > 0; left /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < left; ++i) {
      const FloatVector a = rows[2 * i], b = rows[2 * i + 1];
      rows[i] = max(CRAFT_SHUFFLE(a, b, CRAFT_EVEN_LANES), CRAFT_SHUFFLE(a, b, CRAFT_ODD_LANES));
    }
  }
  return rows[0];
}

#undef CRAFT_SHUFFLE
#undef CRAFT_EVEN_LANES
#undef CRAFT_ODD_LANES

}  // namespace craft::CRAFT_ISA
