#include "screen.h"

#include <cmath>
#include <limits>

#include "dot64.h"
#include "ieee_denormals.h"
#include "product.h"
#include "simd.h"
#include "sum_of_squares.h"

namespace craft::CRAFT_ISA {
namespace {

static_assert(kBlock % (2 * kColumns) == 0 && kTokenGroup % kTokensAtOnce == 0);

// Many times what float64 sums lose.
constexpr double kOutward = 1e-6;

// Codewords is read-only for everyone but the functions that fill it.
template <typename T>
T* writable(const T* p) {
  return const_cast<T*>(p);
}

// Vectors are packed in stretches of this many components, which are rounded together.
constexpr int64_t kStretch = 64;

// Rounds n components and fills the rest of the stretch with zeros.
CRAFT_INLINE void round_stretch(const float* x, int64_t n, Packed* out) {
  if (n == kStretch) {
    for (int64_t i = 0; i < kStretch; ++i) out[i] = packed(x[i]);
    return;
  }
  for (int64_t i = 0; i < kStretch; ++i) out[i] = i < n ? packed(x[i]) : Packed{};
}

// Rounds a codeword minus the mean; writes to `dropped` what rounding drops.
CRAFT_INLINE void round_centred(const float* word, const float* mean, int64_t n, Packed* out,
                                float* dropped) {
  if (mean == nullptr) {
    round_stretch(word, n, out);
    for (int64_t i = 0; i < n; ++i) dropped[i] = word[i] - rounded(word[i]);
    return;
  }
  float centred[kStretch];
  for (int64_t i = 0; i < n; ++i) centred[i] = word[i] - mean[i];
  round_stretch(centred, n, out);
  for (int64_t i = 0; i < n; ++i) {
    const double exact = static_cast<double>(word[i]) - mean[i];
    dropped[i] = static_cast<float>(exact - rounded(centred[i]));
  }
}

// Packs the codewords of one panel, centred and rounded. Returns the greatest norm of what rounding
// dropped.
double pack_panel(const Codewords& book, int64_t at) {
  const int64_t D = book.D, depth = packed_depth(D);
  Packed* panel = static_cast<Packed*>(const_cast<void*>(book.panels)) + at * depth;
  SumOfSquares sq_dropped[kColumns];
  for (int64_t d = 0; d < depth; d += kStretch) {
    const int64_t n = D - d < kStretch ? D - d : kStretch;
    const int64_t packed_n = depth - d < kStretch ? depth - d : kStretch;
    for (int j = 0; j < kColumns; ++j) {
      const int64_t index = book.order[at + j];
      alignas(64) Packed run[kStretch] = {};
      alignas(64) float dropped[kStretch] = {};
      if (index >= 0) {
        round_centred(book.words + index * D + d, book.mean == nullptr ? nullptr : book.mean + d, n,
                      run, dropped);
      }
      for (int64_t i = 0; i < packed_n; i += kPackedUnit) {
        __builtin_memcpy(panel + codeword_at(j, d + i), run + i, sizeof(float));
      }
      if (!kRounds) continue;
      for (int64_t i = 0; i < n; i += SumOfSquares::kLanes) sq_dropped[j].add_lanes(dropped + i);
    }
  }
  double greatest = 0;
  for (const SumOfSquares& sum : sq_dropped) greatest = std::fmax(greatest, sum.total());
  return std::sqrt(greatest);
}

float rounded_up(double x) {
  return std::nextafter(static_cast<float>(x), std::numeric_limits<float>::infinity());
}

// Subtracts from a residual its part along the mean, which leaves e in `rest`. Returns a.
double take_off_mean(const Codewords& book, const float* residual, float* rest) {
  if (book.mean == nullptr) {
    __builtin_memcpy(rest, residual, book.D * sizeof(float));
    return 0;
  }
  const double share = dot64(residual, book.mean, book.D) / (book.mean_norm * book.mean_norm);
  for (int64_t d = 0; d < book.D; ++d) {
    rest[d] = static_cast<float>(residual[d] - share * book.mean[d]);
  }
  return share - 1;
}

}  // namespace

bool rounds_operands() { return kRounds; }

int64_t codewords_bytes(int64_t P, int64_t D) {
  return P * packed_depth(D) * static_cast<int64_t>(sizeof(Packed));
}

int64_t tokens_bytes(int64_t T, int64_t D) {
  const int64_t groups = (T + kTokenGroup - 1) / kTokenGroup;
  return groups * kTokenGroup * packed_depth(D) * static_cast<int64_t>(sizeof(Packed));
}

void half_sq_norms(const float* words, const float* mean, int64_t D, double* half_sq_norms,
                   int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t j = begin; j < end; ++j) {
    const float* word = words + j * D;
    half_sq_norms[j] =
        0.5 * (mean == nullptr ? sum_of_squares(word, D) : centred_dot64(word, mean, true, D));
  }
}

void pack_codewords(const Codewords& book, const double* half_sq_norms64, int64_t begin,
                    int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t b = begin; b < end; ++b) {
    double norm = 0, rounding = 0;
    for (int64_t at = b * kBlock; at < (b + 1) * kBlock; at += kColumns) {
      rounding = std::fmax(rounding, pack_panel(book, at));
    }
    for (int64_t at = b * kBlock; at < (b + 1) * kBlock; ++at) {
      const int64_t index = book.order[at];
      writable(book.half_sq_norms)[at] = index < 0 ? std::numeric_limits<float>::infinity()
                                                   : static_cast<float>(half_sq_norms64[index]);
      if (book.mean != nullptr) {
        writable(book.along_mean)[at] =
            index < 0 ? 0
                      : static_cast<float>(
                            centred_dot64(book.words + index * book.D, book.mean, false, book.D));
      }
      if (index >= 0) norm = std::fmax(norm, std::sqrt(2 * half_sq_norms64[index]));
    }
    writable(book.block_norm)[b] = rounded_up(norm * (1 + kOutward));
    // The differences that are summed are themselves rounded in float64.
    writable(book.block_rounding)[b] =
        rounded_up(rounding * (1 + kOutward) + 0x1p-51 * (norm + book.mean_norm));
  }
}

void pack_tokens(const Codewords& book, const ScreenTile& tile, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  const int64_t D = book.D, depth = packed_depth(D);
  for (int64_t t = begin * kTokenGroup; t < end * kTokenGroup; ++t) {
    Packed* strip = static_cast<Packed*>(tile.tokens) + t / kRows * kRows * depth;
    const int64_t row = t % kRows;
    const bool padding = t >= tile.T;
    float* rest = tile.rounding + t * D;
    TokenParts parts = {};
    if (!padding) {
      float* residual = tile.residual + t * D;
      if (tile.source != nullptr) {
        __builtin_memcpy(residual, tile.source + t * D, D * sizeof(float));
      }
      parts.along = take_off_mean(book, residual, rest);
      parts.norm = std::sqrt(sum_of_squares(residual, D));
      parts.rest = book.mean == nullptr ? parts.norm : std::sqrt(sum_of_squares(rest, D));
    }
    for (int64_t d = 0; d < depth; d += kStretch) {
      alignas(64) Packed run[kStretch] = {};
      if (!padding) round_stretch(rest + d, D - d < kStretch ? D - d : kStretch, run);
      const int64_t packed_n = depth - d < kStretch ? depth - d : kStretch;
      for (int64_t i = 0; i < packed_n; i += kPackedUnit) {
        __builtin_memcpy(strip + token_at(row, d + i), run + i, sizeof(float));
      }
    }
    if (padding) continue;
    if (kRounds) {
      for (int64_t d = 0; d < D; ++d) rest[d] -= rounded(rest[d]);
      parts.rounding = std::sqrt(sum_of_squares(rest, D));
    } else {
      __builtin_memset(rest, 0, D * sizeof(float));
    }
    if (book.mean != nullptr) parts.rounding += kMeanRounding * parts.norm;
    tile.parts[t] = parts;
  }
}

}  // namespace craft::CRAFT_ISA
