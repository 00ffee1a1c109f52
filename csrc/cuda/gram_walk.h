// All levels of one token, by a block of threads: its row of scores stays on chip, and every level
// subtracts a row of the Gram matrix from it. Bounds and decisions are those of the CPU kernels.
//
// The code is written against a Block, which tests simulate on the host:
//   size()      the number of threads, at least 20
//   each(f)     calls f(thread) in every thread; afterwards all threads see each other's writes
//   sum(f) max(f) min(f)    over the values f(thread); every thread gets the result
//   add(x, y)   x += y, possibly from several threads at once
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "../decision.h"
#include "../score_bound.h"
#include "../square_lanes.h"
#include "launch.h"

namespace craft::CRAFT_ISA {

// A block's memory, in addition to the scores [K].
struct WalkMemory {
  double lanes[kSquareLanes];
  int64_t lead[ExactSum::kLimbs];
};

// The codebook as seen from one residual, by a block.
template <typename Block>
struct WordsFromBlock {
  const GramWalkArgs& args;
  const float* residual;
  WalkMemory& memory;
  const Block& block;

  CRAFT_BLOCK_CODE const float* word(int64_t j) const { return args.words + j * args.D; }

  CRAFT_BLOCK_CODE double score(int64_t j) const {
    const float* c = word(j);
    const double dot = block.sum([&](int thread) {
      double sum = 0;
      for (int64_t d = thread; d < args.D; d += block.size()) {
        sum += static_cast<double>(residual[d]) * c[d];
      }
      return sum;
    });
    return dot - args.half_sq_norms64[j];
  }

  CRAFT_BLOCK_CODE int sign_of_lead(int64_t j, int64_t i) const {
    const float *b = word(j), *a = word(i);
    block.each([&](int thread) {
      if (thread < ExactSum::kLimbs) memory.lead[thread] = 0;
    });
    block.each([&](int thread) {
      ExactSum part;
      for (int64_t d = thread; d < args.D; d += block.size())
        add_lead(part, residual[d], b[d], a[d]);
      for (int limb = 0; limb < ExactSum::kLimbs; ++limb) {
        block.add(memory.lead[limb], part.limbs[limb]);
      }
    });
    ExactSum lead;
    for (int limb = 0; limb < ExactSum::kLimbs; ++limb) lead.limbs[limb] = memory.lead[limb];
    return lead.sign();
  }
};

template <typename Block>
CRAFT_BLOCK_CODE double sum_of_squares(const float* x, int64_t D, WalkMemory& memory,
                                       const Block& block) {
  block.each([&](int thread) {
    if (thread >= kSquareLanes) return;
    double sum = 0;
    for (int64_t d = thread; d < D; d += kSquareLanes) sum = plus_square(sum, x[d]);
    memory.lanes[thread] = sum;
  });
  block.each([&](int thread) {
    if (thread == 0) fold_lanes(memory.lanes);
  });
  return memory.lanes[0];
}

// The nearest codeword, given scores whose error is at most `bound`. Comparisons are written so
// that a NaN score is examined.
template <typename Block>
CRAFT_BLOCK_CODE int64_t nearest_codeword(const GramWalkArgs& args, const float* residual,
                                          double residual_norm, double bound, const float* scores,
                                          WalkMemory& memory, const Block& block) {
  const int64_t K = args.K;
  const float greatest = block.max([&](int thread) {
    float best = -std::numeric_limits<float>::infinity();
    for (int64_t j = thread; j < K; j += block.size()) best = scores[j] > best ? scores[j] : best;
    return best;
  });
  const float threshold = rounded_down(greatest - 2 * bound);
  const auto next_near = [&](int64_t from) {
    return block.min([&](int thread) {
      for (int64_t j = from + thread; j < K; j += block.size()) {
        if (!(scores[j] < threshold)) return j;
      }
      return K;
    });
  };
  const double margin = 2 * float64_score_bound(args.D, residual_norm, args.max_norm);
  NearestOf<WordsFromBlock<Block>> nearest({args, residual, memory, block}, margin);
  for (int64_t j = next_near(0); j < K; j = next_near(j + 1)) nearest.consider(j);
  return nearest.best();
}

template <typename Block>
CRAFT_BLOCK_CODE void walk_token(const GramWalkArgs& args, int64_t token, float* scores,
                                 WalkMemory& memory, const Block& block) {
  const int64_t K = args.K, D = args.D;
  float* residual = args.residual + token * D;
  float* quantized = args.quantized + token * D;
  ScoreHistory history;
  double sq_norm = sum_of_squares(residual, D, memory, block), rounding = 0;
  int64_t code = 0;
  for (int64_t level = 0; level < args.L; ++level) {
    const double norm = std::sqrt(sq_norm);
    const float* row = level == 0 ? args.products + token * K : args.gram + code * K;
    block.each([&](int thread) {
      for (int64_t j = thread; j < K; j += block.size()) {
        scores[j] = level == 0 ? row[j] - args.half_sq_norms[j] : scores[j] - row[j];
      }
    });
    if (level == 0) {
      rounding = args.rounding * norm;
      start(history, norm, rounding);
    } else {
      const double word_norm = std::sqrt(2 * args.half_sq_norms64[code]);
      rounding += args.rounding * word_norm;
      subtract_row(history, norm, rounding, word_norm, 0);
    }
    // A residual that is not finite has no nearest codeword; the caller examines the final
    // residual.
    if (std::isfinite(sq_norm)) {
      const double bound = ScoreBound(history, D, args.product_unit)
                               .of_block(args.max_norm, args.rounding * args.max_norm);
      code = nearest_codeword(args, residual, norm, bound, scores, memory, block);
    }
    const float* word = args.words + code * D;
    block.each([&](int thread) {
      for (int64_t d = thread; d < D; d += block.size()) {
        residual[d] -= word[d];
        quantized[d] = level == 0 ? word[d] : quantized[d] + word[d];
      }
    });
    sq_norm = sum_of_squares(residual, D, memory, block);
    block.each([&](int thread) {
      if (thread != 0) return;
      args.codes[token * args.L + level] = code;
      args.sq_norms[token * args.L + level] = static_cast<float>(sq_norm);
    });
  }
}

}  // namespace craft::CRAFT_ISA
