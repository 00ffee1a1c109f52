// The matrix product for processors with AVX512-BF16 but without AMX: bfloat16 operands, float32
// sums, register-tiled over packed panels.
//
// VDPBF16PS adds two products to each sum, that of the odd components first, as two fused
// multiply-adds that round to nearest even. Denormal operands count as zero, denormal results
// become zero, and MXCSR is not consulted (Intel's instruction reference; AMD's Zen 5 was observed
// to do the same, bit for bit). So a sum of D products takes D roundings, as score_bound.h assumes.
//
// Codewords are in panels of kColumns, [D / 2][kColumns][2]; tokens in strips of kRows,
// [D / 2][kRows][2]; an odd D is padded with a zero. The tile of sums is that of product_fma.h;
// each step goes twice as deep.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "bfloat16.h"
#include "simd.h"

namespace craft::CRAFT_ISA {

using Packed = uint16_t;

inline constexpr bool kRounds = true;          // operands are rounded before they are multiplied
inline constexpr int kRows = 8, kVectors = 3;  // 24 of 32 registers hold sums
inline constexpr int kColumns = kVectors * kFloats;
inline constexpr int kTokensAtOnce = kRows;   // multiply_block rounds its count up to these
inline constexpr int64_t kProductDepth = 32;  // see shortlist.h; measured, docs/performance.md

CRAFT_INLINE float rounded(float x) { return rounded_to_bfloat16(x); }
CRAFT_INLINE Packed packed(float x) { return bfloat16_bits(rounded_to_bfloat16(x)); }
CRAFT_INLINE int64_t packed_depth(int64_t D) { return (D + 1) / 2 * 2; }

// The position of components d and d + 1 of codeword j in a panel, and of token t in a strip.
CRAFT_INLINE int64_t codeword_at(int64_t j, int64_t d) { return d * kColumns + 2 * j; }
CRAFT_INLINE int64_t token_at(int64_t t, int64_t d) { return d * kRows + 2 * t; }

// Nothing needs to be set up for products.
struct MatrixUnit {
  MatrixUnit() {}
  ~MatrixUnit() {}
};

CRAFT_INLINE void multiply_panel(const Packed* strip, const Packed* panel, int64_t depth,
                                 float* out, int64_t stride) {
  __m512 sums[kRows][kVectors] = {};
  for (int64_t d = 0; d < depth; d += 2) {
    __m512bh words[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      words[v] = (__m512bh)_mm512_loadu_si512(panel + d * kColumns + v * 2 * kFloats);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kRows; ++t) {
      int32_t pair;
      __builtin_memcpy(&pair, strip + d * kRows + 2 * t, sizeof pair);
      const __m512bh token = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[t][v] = _mm512_dpbf16_ps(sums[t][v], token, words[v]);
      }
    }
  }
  for (int t = 0; t < kRows; ++t) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(out + t * stride + v * kFloats, sums[t][v]);
    }
  }
}

// out[t, j] = <token t, codeword j> for `count` tokens, rounded up to whole strips, and one block
// of codewords.
inline void multiply_block(const Packed* tokens, int64_t count, const Packed* block, int64_t D,
                           int64_t columns, float* out, int64_t stride) {
  const int64_t depth = packed_depth(D);
  for (int64_t j = 0; j < columns; j += kColumns) {
    for (int64_t t = 0; t < count; t += kRows) {
      multiply_panel(tokens + t * depth, block + j * depth, depth, out + t * stride + j, stride);
    }
  }
}

}  // namespace craft::CRAFT_ISA
