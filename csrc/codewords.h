// One level's codewords, as they came and packed for screening.
#pragma once

#include <cstdint>

namespace craft {

// Packed codewords stand in ascending order of their norms, so that those of one block are alike
// and share tight bounds. A block is a whole number of panels on every instruction set.
inline constexpr int64_t kBlock = 192;

struct Codewords {
  int64_t K, D, P;                // P: K rounded up to whole blocks
  const float* words;             // [K, D]
  const double* half_sq_norms64;  // [K] |c|^2 / 2
  const int32_t* order;           // [P] index of the codeword at a packed position, -1 at padding
  const void* panels;             // rounded codewords, in the layout of one instruction set
  const float* half_sq_norms;     // [P] |c|^2 / 2, infinity at padding
  const double* block_norm;       // [P / kBlock] no |c| of the block is greater
  const double* block_rounding;   // [P / kBlock] no |c - rounded c| of the block is greater

  int64_t blocks() const { return P / kBlock; }
};

}  // namespace craft
