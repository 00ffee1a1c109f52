// Vectors as wide as the instruction set being compiled for, by the vector extension that GCC and
// Clang share. All arithmetic is lane by lane, as IEEE says.
#pragma once

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

CRAFT_INLINE FloatVector max(FloatVector a, FloatVector b) { return a > b ? a : b; }

CRAFT_INLINE float max_lane(FloatVector v) {
  float best = v[0];
  for (int i = 1; i < kFloats; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

}  // namespace craft::CRAFT_ISA
