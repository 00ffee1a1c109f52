// The matrix product on AMX tiles: bfloat16 operands, float32 sums. Products of bfloat16 numbers
// are exact in float32; sums are rounded at every step, and denormals count as zero.
//
// A tile is 16 rows of 64 bytes, stored contiguously. Codewords are in panels of 16,
// [D / 32][16 pairs of components][16][2]; tokens in strips of 16, [D / 32][16][32]; D is padded
// with zeros to a multiple of 32. Two strips times two panels fill four tiles with sums and use
// every loaded tile twice.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "bfloat16.h"
#include "simd.h"

namespace craft::CRAFT_ISA {

using Packed = uint16_t;

inline constexpr bool kRounds = true;  // operands are rounded before they are multiplied
inline constexpr int kRows = 16, kColumns = 16;
inline constexpr int kTokensAtOnce = 2 * kRows;  // multiply_block rounds its count up to these
inline constexpr int kDepth = 32;                // components in a tile row
inline constexpr int kTile = kRows * kDepth;     // bfloat16 numbers in a tile
inline constexpr int kTileRowBytes = 64;
inline constexpr int64_t kProductDepth = 256;  // see shortlist.h; measured, docs/performance.md

CRAFT_INLINE float rounded(float x) { return rounded_to_bfloat16(x); }
CRAFT_INLINE Packed packed(float x) { return bfloat16_bits(rounded_to_bfloat16(x)); }
CRAFT_INLINE int64_t packed_depth(int64_t D) { return (D + kDepth - 1) / kDepth * kDepth; }

// The position of components d and d + 1 of codeword j in a panel, and of token t in a strip.
CRAFT_INLINE int64_t codeword_at(int64_t j, int64_t d) {
  return d / kDepth * kTile + d % kDepth / 2 * kDepth + 2 * j;
}
CRAFT_INLINE int64_t token_at(int64_t t, int64_t d) {
  return d / kDepth * kTile + t * kDepth + d % kDepth;
}

// Configures the tile registers for its lifetime, within which products can be computed.
class MatrixUnit {
 public:
  MatrixUnit() {
    struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; ++i) {
      shape.row_bytes[i] = kTileRowBytes;
      shape.rows[i] = kRows;
    }
    _tile_loadconfig(&shape);
  }
  ~MatrixUnit() { _tile_release(); }
  MatrixUnit(const MatrixUnit&) = delete;
  MatrixUnit& operator=(const MatrixUnit&) = delete;
};

CRAFT_INLINE void multiply_panels(const Packed* strip0, const Packed* strip1, const Packed* panel0,
                                  const Packed* panel1, int64_t depth, float* out, int64_t stride) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t at = 0; at < kRows * depth; at += kTile) {
    _tile_loadd(4, strip0 + at, kTileRowBytes);
    _tile_loadd(6, panel0 + at, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel1 + at, kTileRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, strip1 + at, kTileRowBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
  _tile_stored(0, out, row_bytes);
  _tile_stored(1, out + kColumns, row_bytes);
  _tile_stored(2, out + kRows * stride, row_bytes);
  _tile_stored(3, out + kRows * stride + kColumns, row_bytes);
}

// out[t, j] = <token t, codeword j> for `count` tokens, rounded up to 32, and one block of
// codewords.
inline void multiply_block(const Packed* tokens, int64_t count, const Packed* block, int64_t D,
                           int64_t columns, float* out, int64_t stride) {
  const int64_t depth = packed_depth(D);
  for (int64_t j = 0; j < columns; j += 2 * kColumns) {
    const Packed* panel = block + j * depth;
    for (int64_t t = 0; t < count; t += 2 * kRows) {
      const Packed* strip = tokens + t * depth;
      multiply_panels(strip, strip + kRows * depth, panel, panel + kColumns * depth, depth,
                      out + t * stride + j, stride);
    }
  }
}

}  // namespace craft::CRAFT_ISA
