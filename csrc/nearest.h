// The decision among codewords of a packed codebook, and the step to the next level.
#pragma once

#include <cstdint>

#include "codewords.h"
#include "decision.h"
#include "dot64.h"
#include "score_bound.h"
#include "simd.h"
#include "sum_of_squares.h"

namespace craft::CRAFT_ISA {

// A codebook as seen from one residual.
struct WordsFrom {
  const Codewords& book;
  const float* residual;

  const float* word(int64_t j) const { return book.words + j * book.D; }

  double score(int64_t j) const {
    return dot64(residual, word(j), book.D) - book.half_sq_norms64[j];
  }

  int sign_of_lead(int64_t j, int64_t i) const {
    const float *b = word(j), *a = word(i);
    if (__builtin_memcmp(a, b, book.D * sizeof(float)) == 0) return 0;
    ExactSum lead;
    for (int64_t d = 0; d < book.D; ++d) add_lead(lead, residual[d], b[d], a[d]);
    return lead.sign();
  }
};

class Nearest : public NearestOf<WordsFrom> {
 public:
  Nearest(const Codewords& book, const float* residual, double residual_norm)
      : NearestOf({book, residual},
                  2 * float64_score_bound(book.D, residual_norm, book.greatest_norm)) {}
};

// residual -= word and quantized += word (= word at the first level), each rounded to float32.
// Returns the new residual's sum of squares.
inline double subtract_codeword(const float* word, int64_t D, bool first, float* residual,
                                float* quantized) {
  for (int64_t i = 0; i < D; ++i) residual[i] -= word[i];
  if (first) {
    __builtin_memcpy(quantized, word, D * sizeof(float));
  } else {
    for (int64_t i = 0; i < D; ++i) quantized[i] += word[i];
  }
  return sum_of_squares(residual, D);
}

}  // namespace craft::CRAFT_ISA
