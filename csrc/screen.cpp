#include "screen.h"

#include <cmath>
#include <limits>

#include "ieee_denormals.h"
#include "product.h"
#include "simd.h"
#include "sum_of_squares.h"

namespace craft::CRAFT_ISA {
namespace {

static_assert(kBlock % (2 * kColumns) == 0 && kTokenGroup % (2 * kRows) == 0);

// The writer's view of what Codewords holds for readers.
template <typename T>
T* writable(const T* p) {
  return const_cast<T*>(p);
}

void pack_panel(const Codewords& book, int64_t at) {
  Packed* panel = static_cast<Packed*>(const_cast<void*>(book.panels)) + at * packed_depth(book.D);
  const int64_t depth = packed_depth(book.D);
  const float* words[kColumns];
  for (int j = 0; j < kColumns; ++j) {
    const int64_t index = book.order[at + j];
    words[j] = index < 0 ? nullptr : book.words + index * book.D;
  }
  for (int64_t d = 0; d < depth; ++d) {
    for (int j = 0; j < kColumns; ++j) {
      const float x = words[j] == nullptr || d >= book.D ? 0 : words[j][d];
      panel[codeword_at(j, d)] = packed(x);
    }
  }
}

double rounding_norm(const float* word, int64_t D) {
  double sum = 0;
  for (int64_t d = 0; d < D; ++d) {
    const double lost = static_cast<double>(word[d]) - rounded(word[d]);
    sum += lost * lost;
  }
  return std::sqrt(sum);
}

// Subtracts the half norms from a stretch of kBlock scores and returns the greatest.
float finish_block(float* scores, const float* half_sq_norms) {
  FloatVector best = splat(-std::numeric_limits<float>::infinity());
  for (int64_t j = 0; j < kBlock; j += kFloats) {
    const FloatVector score = load(scores + j) - load(half_sq_norms + j);
    store(scores + j, score);
    best = max(best, score);
  }
  return max_lane(best);
}

}  // namespace

int64_t codewords_bytes(int64_t P, int64_t D) {
  return P * packed_depth(D) * static_cast<int64_t>(sizeof(Packed));
}

int64_t tokens_bytes(int64_t T, int64_t D) {
  const int64_t groups = (T + kTokenGroup - 1) / kTokenGroup;
  return groups * kTokenGroup * packed_depth(D) * static_cast<int64_t>(sizeof(Packed));
}

void half_sq_norms(const float* words, int64_t D, double* half_sq_norms, int64_t begin,
                   int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t j = begin; j < end; ++j) half_sq_norms[j] = 0.5 * sum_of_squares(words + j * D, D);
}

void pack_codewords(const Codewords& book, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t b = begin; b < end; ++b) {
    for (int64_t at = b * kBlock; at < (b + 1) * kBlock; at += kColumns) pack_panel(book, at);
    double norm = 0, rounding = 0;
    for (int64_t at = b * kBlock; at < (b + 1) * kBlock; ++at) {
      const int64_t index = book.order[at];
      writable(book.half_sq_norms)[at] = index < 0
                                             ? std::numeric_limits<float>::infinity()
                                             : static_cast<float>(book.half_sq_norms64[index]);
      if (index < 0) continue;
      norm = std::fmax(norm, std::sqrt(2 * book.half_sq_norms64[index]));
      rounding = std::fmax(rounding, rounding_norm(book.words + index * book.D, book.D));
    }
    // Sums in float64 lose less than this.
    writable(book.block_norm)[b] = norm * (1 + 1e-6);
    writable(book.block_rounding)[b] = rounding * (1 + 1e-6);
  }
}

void pack_tokens(const ScreenTile& tile, int64_t D, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  const int64_t depth = packed_depth(D);
  for (int64_t first = begin * kTokenGroup; first < end * kTokenGroup; first += kRows) {
    Packed* strip = static_cast<Packed*>(tile.tokens) + first * depth;
    for (int64_t t = 0; t < kRows; ++t) {
      const bool padding = first + t >= tile.T;
      const float* x = tile.residual + (first + t) * D;
      float* lost = tile.rounding + (first + t) * D;
      if (padding) {
        for (int64_t d = 0; d < depth; ++d) strip[token_at(t, d)] = packed(0);
        continue;
      }
      int64_t d = 0;
      for (; d + kRun <= D; d += kRun) {
        Packed* run = strip + token_at(t, d);
        for (int64_t i = 0; i < kRun; ++i) run[i] = packed(x[d + i]);
      }
      for (; d < depth; ++d) strip[token_at(t, d)] = packed(d < D ? x[d] : 0);
      for (d = 0; d < D; ++d) lost[d] = x[d] - rounded(x[d]);
    }
  }
}

void score(const Codewords& book, const ScreenTile& tile, bool product_alone, int64_t begin,
           int64_t end) {
  const MatrixUnit unit;
  const auto* tokens = static_cast<const Packed*>(tile.tokens);
  const auto* panels = static_cast<const Packed*>(book.panels);
  for (int64_t b = begin; b < end; ++b) {
    const int64_t at = b * kBlock;
    multiply_block(tokens, tile.T, panels + at * packed_depth(book.D), book.D, kBlock,
                   tile.scores + at, book.P);
    if (product_alone) continue;
    for (int64_t t = 0; t < tile.T; ++t) {
      tile.maxima[t * book.blocks() + b] =
          finish_block(tile.scores + t * book.P + at, book.half_sq_norms + at);
    }
  }
}

}  // namespace craft::CRAFT_ISA
