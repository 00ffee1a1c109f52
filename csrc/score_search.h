// From a token's scores to its nearest codeword.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "nearest.h"
#include "score_bound_lanes.h"
#include "token_state.h"

namespace craft::CRAFT_ISA {

// Decides among the codewords that may be the nearest. In every block b, some codeword has a true
// score of at least maxima[b] - bound[b]. So the nearest codeword's true score is at least the
// greatest of these, and its screened score at least that minus its own block's bound.
class ScoreSearch {
 public:
  ScoreSearch(const Codewords& book, const TokenState& state, const float* residual,
              const int16_t* scores, const int16_t* maxima)
      : book_(book),
        state_(state),
        scores_(scores),
        maxima_(maxima),
        bounds_(ScoreBound(state.history, book.D)),
        nearest_(book, residual, state.norm) {}

  int64_t nearest() {
    const float floor = greatest_floor();
    for (int64_t b = 0; b < state_.sound_blocks; b += kFloats) {
      const FloatVector bound = bound_of(b);
      const FloatVector ceiling = score_of(b) + bound;
      uint32_t open = ~below(ceiling, splat(floor)) & sound_lanes(b);
      float bounds[kFloats];
      if (open != 0) store(bounds, bound);
      for (; open != 0; open &= open - 1) {
        const int i = __builtin_ctz(open);
        consider_block(b + i, floor - bounds[i]);
      }
    }
    consider_listed();
    consider_unsound_blocks(floor);
    return nearest_.best();
  }

 private:
  FloatVector bound_of(int64_t b) const {
    return bounds_.of_blocks(load(book_.block_norm + b), load(book_.block_rounding + b));
  }

  FloatVector score_of(int64_t b) const { return splat(state_.step) * load_integers(maxima_ + b); }

  uint32_t sound_lanes(int64_t b) const {
    const int64_t count = state_.sound_blocks - b;
    return (count < kFloats ? 1u << count : 1u << (kFloats - 1) << 1) - 1;
  }

  // Leaves out the lanes beyond the last sound block.
  float greatest_floor() const {
    FloatVector floor = splat(-std::numeric_limits<float>::infinity());
    int64_t b = 0;
    for (; b + kFloats <= state_.sound_blocks; b += kFloats) {
      floor = max(score_of(b) - bound_of(b), floor);
    }
    float greatest = max_lane(floor);
    if (b < state_.sound_blocks) {
      const FloatVector last = score_of(b) - bound_of(b);
      for (int i = 0; b + i < state_.sound_blocks; ++i) {
        greatest = last[i] > greatest ? last[i] : greatest;
      }
    }
    return greatest;
  }

  void consider_block(int64_t b, float threshold) {
    const float steps = std::floor(threshold / state_.step) - 1;
    const ShortVector least = splat(steps > kLowest ? static_cast<int16_t>(steps) : kLowest);
    for (int64_t j = b * kBlock; j < (b + 1) * kBlock; j += kShorts) {
      for (uint32_t lanes = reaching(load(scores_ + j), least); lanes != 0; lanes &= lanes - 1) {
        const int64_t index = book_.order[j + __builtin_ctz(lanes)];
        if (index >= 0) list(index);
      }
    }
  }

  // Codewords are scattered in memory: each is prefetched while others are still being looked for.
  void list(int64_t index) {
    if (listed_ == kRoom) consider_listed();
    list_[listed_++] = static_cast<int32_t>(index);
    const auto* word = reinterpret_cast<const char*>(book_.words + index * book_.D);
    const int64_t bytes = book_.D * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < bytes && i < kFetched; i += 64) __builtin_prefetch(word + i);
  }

  void consider_listed() {
    for (int i = 0; i < listed_; ++i) nearest_.consider(list_[i]);
    listed_ = 0;
  }

  // Their scores are meaningless. But codewords grow longer from block to block, and the true score
  // of one that is longer than r - m is at most |r - m| |c - m| - |c - m|^2 / 2.
  void consider_unsound_blocks(float floor) {
    const double distance = reach(book_, state_);
    for (int64_t b = state_.sound_blocks; b < book_.blocks(); ++b) {
      const double least = b == 0 ? 0 : book_.block_norm[b - 1] * (1 - 3e-6);
      const double greatest_score = least * (distance - 0.5 * least);
      const double lost = 1e-6 * least * (distance + least);
      if (least > distance && greatest_score + lost < floor) return;
      for (int64_t j = b * kBlock; j < (b + 1) * kBlock; ++j) {
        if (book_.order[j] >= 0) nearest_.consider(book_.order[j]);
      }
    }
  }

  static constexpr int kRoom = 16;
  static constexpr int64_t kFetched = 8192;

  int32_t list_[kRoom];
  int listed_ = 0;
  const Codewords& book_;
  const TokenState& state_;
  const int16_t* scores_;
  const int16_t* maxima_;
  BoundLanes bounds_;
  Nearest nearest_;
};

}  // namespace craft::CRAFT_ISA
