// One level's codewords, both as given and packed for screening.
#pragma once

#include <cstdint>

namespace craft {

// Packed codewords are in ascending order of their norms, so that those of one block have similar
// norms and a tight common bound. A block is a whole number of panels on every instruction set.
inline constexpr int64_t kBlock = 192;

// Arrays with one entry per block are padded with zeros to a multiple of this many.
inline constexpr int64_t kBlockGroup = 16;

// Codewords are centred before they are packed: c - m, with m the mean of a codebook if that is a
// large part of its codewords, and zero otherwise. Distances do not change when both sides move by
// m, but the shorter an operand is, the less rounding loses. In the fields below c is a codeword as
// given.
struct Codewords {
  int64_t K, D, P;                // P: K rounded up to whole blocks
  const float* words;             // [K, D]
  const double* half_sq_norms64;  // [K] |c|^2 / 2
  const float* mean;              // [D] m, or nullptr for zero
  const int32_t* order;           // [P] index of the codeword at a packed position, -1 at padding
  const void* panels;             // rounded c - m, in the layout of one instruction set
  const float* along_mean;        // [P] <m, c - m>; nullptr if m is zero
  const float* half_sq_norms;     // [P] |c - m|^2 / 2, infinity at padding
  const float* block_norm;        // per block: no |c - m| of the block is greater
  const float* block_rounding;    // per block: no |c - m - rounded| of the block is greater
  double greatest_norm;           // no |c| is greater
  double least_centred_norm;      // no |c - m| is less
  double mean_norm;               // |m|
  double greatest_along_mean;     // no |<m, c - m>| is greater

  int64_t blocks() const { return P / kBlock; }
  int64_t padded_blocks() const { return (blocks() + kBlockGroup - 1) / kBlockGroup * kBlockGroup; }
};

}  // namespace craft
