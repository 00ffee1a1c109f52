// What a token's scores have gone through so far; score_bound.h makes bounds of it. r is the
// residual, p what the scores stand for, r_0 less the codewords so far, all rounded.
#pragma once

namespace craft {

struct ScoreHistory {
  double residual;    // |r|
  double rounding;    // |r - p|, at most
  double slack;       // what r - p may have lost while it was carried along in float32
  double path;        // norms of all that p is made of, added up
  double magnitudes;  // sum of |p| at every level
  double steps;       // rounding of the Gram rows
  double scores;      // how many there were: the product, then differences
};

}  // namespace craft
