// The matrix product for processors without bfloat16 units: float32, register-tiled, over packed
// panels.
//
// Codewords are in panels of kColumns, [D][kColumns]; tokens in strips of kRows, [D][kRows]. One
// strip times one panel gives kRows x kVectors sums in registers. Each step along D loads kVectors
// vectors and broadcasts kRows numbers for kRows x kVectors multiply-adds, few enough loads that
// the second-level cache keeps up. The compiler may or may not fuse the multiply-adds: the bound
// covers both.
#pragma once

#include <cstdint>

#include "simd.h"

namespace craft::CRAFT_ISA {

using Packed = float;

#if defined(__AVX512F__)
inline constexpr int kRows = 8, kVectors = 3;  // 24 of 32 registers hold sums
#elif defined(__AVX2__)
inline constexpr int kRows = 4, kVectors = 3;  // 12 of 16
#else
inline constexpr int kRows = 4, kVectors = 2;
#endif
inline constexpr bool kRounds = false;  // operands are multiplied as they are
inline constexpr int kColumns = kVectors * kFloats;
inline constexpr int kTokensAtOnce = kRows;   // multiply_block rounds its count up to these
inline constexpr int64_t kProductDepth = 16;  // see shortlist.h; measured, docs/performance.md

CRAFT_INLINE float rounded(float x) { return x; }
CRAFT_INLINE int64_t packed_depth(int64_t D) { return D; }
CRAFT_INLINE Packed packed(float x) { return x; }

// The position of component d of codeword j in a panel, and of token t in a strip.
CRAFT_INLINE int64_t codeword_at(int64_t j, int64_t d) { return d * kColumns + j; }
CRAFT_INLINE int64_t token_at(int64_t t, int64_t d) { return d * kRows + t; }

CRAFT_INLINE void multiply_panel(const float* strip, const float* panel, int64_t D, float* out,
                                 int64_t stride) {
  FloatVector sums[kRows][kVectors] = {};
  for (int64_t d = 0; d < D; ++d) {
    FloatVector words[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) words[v] = load(panel + d * kColumns + v * kFloats);
#pragma GCC unroll 8
    for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[t][v] += strip[d * kRows + t] * words[v];
    }
  }
  for (int t = 0; t < kRows; ++t) {
    for (int v = 0; v < kVectors; ++v) store(out + t * stride + v * kFloats, sums[t][v]);
  }
}

// Nothing needs to be set up for products.
struct MatrixUnit {
  MatrixUnit() {}
  ~MatrixUnit() {}
};

// out[t, j] = <token t, codeword j> for `count` tokens, rounded up to whole strips, and one block
// of codewords.
inline void multiply_block(const Packed* tokens, int64_t count, const Packed* block, int64_t D,
                           int64_t columns, float* out, int64_t stride) {
  for (int64_t j = 0; j < columns; j += kColumns) {
    for (int64_t t = 0; t < count; t += kRows) {
      multiply_panel(tokens + t * D, block + j * D, D, out + t * stride + j, stride);
    }
  }
}

}  // namespace craft::CRAFT_ISA
