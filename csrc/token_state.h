// How the bound and the score step of a token follow its residual from level to level.
#pragma once

#include <cmath>
#include <cstdint>

#include "residual_quantize.h"
#include "score_bound.h"
#include "short_scores.h"

namespace craft::CRAFT_ISA {

// Far more than the error of norms computed in float64 and of what is derived from them.
inline constexpr double kOutwards = 1 + 1e-6;

// An upper bound of |r - m|.
CRAFT_INLINE double reach(const Codewords& book, const TokenState& state) {
  return kOutwards * (state.rest + std::fabs(state.along) * book.mean_norm);
}

// An upper bound of the true scores of the sound blocks: |<e, c - m>|, |a <m, c - m>| and
// |c - m|^2 / 2 together. The entries of Gram rows must fit the same step.
CRAFT_INLINE double greatest_score(const Codewords& book, const TokenState& state, double norm) {
  const double rounded_norm = 1.01 * norm, along = book.greatest_along_mean;
  const double score =
      state.rest * rounded_norm + std::fabs(state.along) * along + 0.5 * norm * norm;
  const double entry = 1.05 * (rounded_norm * rounded_norm + along);
  return score > entry ? score : entry;
}

CRAFT_INLINE double sound_norm(const Codewords& book, const TokenState& state) {
  return state.sound_blocks == 0 ? 0 : book.block_norm[state.sound_blocks - 1];
}

CRAFT_INLINE double sound_bound(const Codewords& book, const TokenState& state) {
  if (state.sound_blocks == 0) return 0;
  const ScoreBound bound(state.history, book.D);
  const double norm = sound_norm(book, state);
  return bound.of_block(norm, 0.01 * norm);
}

// Accounts for the mean's part of a score in float32: the share, the product, and the addition.
CRAFT_INLINE void add_mean_to_history(const Codewords& book, TokenState& state) {
  if (book.mean == nullptr) return;
  state.history.magnitudes += (4 * std::fabs(state.along) + 4) * book.mean_norm;
}

// Initialises the state at level 0. Blocks whose codewords are all too long to be the nearest are
// ignored when the step is chosen: the nearest c has |c - m| <= |r - m| + |r - c|, and |r - c| is
// at most the distance from r to the codeword with the shortest c - m.
CRAFT_INLINE void start_token(const Codewords& book, const TokenParts& parts, TokenState& state) {
  state = {};
  state.step = 1;
  state.norm = parts.norm;
  state.rest = parts.rest;
  state.along = parts.along;
  if (!std::isfinite(parts.norm)) {
    state.level = kNotFinite;
    return;
  }
  start(state.history, parts.rest, parts.rounding);
  if (book.mean != nullptr) state.history.slack = kMeanRounding * parts.norm;
  add_mean_to_history(book, state);
  const double longest = kOutwards * (2 * reach(book, state) + book.least_centred_norm);
  int64_t sound = book.blocks();
  while (sound > 1 && book.block_norm[sound - 2] > longest) --sound;
  state.sound_blocks = static_cast<int32_t>(sound);
  const double magnitude = greatest_score(book, state, sound_norm(book, state));
  // With some room, so that what later levels add to the bound need not enlarge the step.
  state.step = step_for(1.1 * magnitude);
  state.history.steps = 0.51 * state.step;
  const double bound = sound_bound(book, state);
  if (bound > 0.09 * magnitude) state.step = step_for(1.1 * (magnitude + bound));
  state.history.steps = 0.51 * state.step;
  const bool fits = magnitude + sound_bound(book, state) < kGreatest * state.step;
  const bool in_range = book.mean == nullptr || state.norm < 0x1p60;
  if (!fits || !in_range) state.sound_blocks = 0;
}

// Follows the subtraction of a codeword with |c - m| = `word_norm` from the residual. The state's
// norms and a are already those of the new residual; the codeword's Gram row, whose greatest step
// in sound blocks is `row_step`, is about to be subtracted from the scores. Returns the factor by
// which the step of the scores must grow first, or 1.
CRAFT_INLINE double follow_residual(const Codewords& book, TokenState& state, double rounding,
                                    double word_norm, double row_step) {
  // Carrying e - p along in float32 loses u times each number involved.
  state.history.slack += kUnit * (state.norm + word_norm);
  if (word_norm > kOutwards * sound_norm(book, state)) state.sound_blocks = 0;
  // Half a step of the row, half a step of the scores for the product with the factor, and half a
  // step for the rounding of the factor.
  subtract_row(state.history, state.rest, rounding, word_norm, row_step + 2 * state.step);
  add_mean_to_history(book, state);
  if (state.sound_blocks == 0) return 1;
  const double magnitude = greatest_score(book, state, sound_norm(book, state));
  if (magnitude + sound_bound(book, state) < kGreatest * state.step) return 1;
  const float before = state.step;
  state.step = step_for(1.1 * (magnitude + sound_bound(book, state)));
  if (!(state.step > 1.5f * before)) state.step = 1.5f * before;
  // Growing costs a step, and the step charged for the row is greater now.
  state.history.steps += 1.02 * (state.step + state.step - before);
  const bool fits = magnitude + sound_bound(book, state) < kGreatest * state.step;
  if (!fits) state.sound_blocks = 0;
  return fits ? static_cast<double>(state.step) / before : 1;
}

}  // namespace craft::CRAFT_ISA
