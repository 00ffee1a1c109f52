// What a token's scores have gone through so far, from which score_bound.h computes bounds. r is
// the residual; p is what the scores stand for, r_0 minus the codewords so far, all of them
// rounded.
#pragma once

namespace craft {

struct ScoreHistory {
  double residual;    // |r|
  double rounding;    // an upper bound of |r - p|
  double slack;       // what r - p may have lost while being carried along in float32
  double path;        // the sum of the norms of the vectors that make up p
  double magnitudes;  // the sum over levels of |p|
  double steps;       // the rounding of the Gram rows
  double scores;      // how many scores there were: the product, then the differences
};

}  // namespace craft
