// Vectors as wide as the instruction set being compiled for, by the vector extension that GCC and
// Clang share. All arithmetic is lane by lane, as IEEE says.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
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
typedef int16_t ShortVector __attribute__((vector_size(kVectorBytes / 2)));

#define CRAFT_INLINE [[gnu::always_inline]] static inline

CRAFT_INLINE FloatVector load(const float* p) {
  FloatVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

CRAFT_INLINE void store(float* p, FloatVector v) { __builtin_memcpy(p, &v, sizeof v); }

// kDoubles consecutive floats, widened (which is exact).
CRAFT_INLINE DoubleVector load_wide(const float* p) {
  HalfFloatVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, DoubleVector);
}

// kFloats consecutive 16-bit integers, as floats (which is exact). GCC 12 splits the generic
// conversion in halves.
CRAFT_INLINE FloatVector load_integers(const int16_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p)));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p)));
#else
  ShortVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(__builtin_convertvector(v, IntVector), FloatVector);
#endif
}

// The other way: floats without a fraction, of magnitude below 2^15.
CRAFT_INLINE void store_integers(int16_t* p, FloatVector v) {
  const ShortVector integers =
      __builtin_convertvector(__builtin_convertvector(v, IntVector), ShortVector);
  __builtin_memcpy(p, &integers, sizeof integers);
}

CRAFT_INLINE FloatVector splat(float x) { return x - FloatVector{}; }

CRAFT_INLINE FloatVector max(FloatVector a, FloatVector b) { return a > b ? a : b; }

// Folds halves: a chain over the lanes would take several times as long.
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

}  // namespace craft::CRAFT_ISA
