#include "shortlist.h"

#include <cmath>
#include <limits>

#include "ieee_denormals.h"
#include "nearest.h"
#include "product.h"
#include "score_bound_lanes.h"
#include "simd.h"

namespace craft::CRAFT_ISA {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What list_candidates keeps for its tokens, in float32.
struct Tokens {
  static constexpr int64_t kCount = kChunkGroups * kTokenGroup;

  float residual[kCount], path[kCount], per_norm[kCount], per_half_sq_norm[kCount];
  float constant[kCount];  // see ScoreBound
  float along[kCount];     // see screen.h
  float floor[kCount];     // a lower bound of the nearest codeword's true score

  void set(int64_t t, const ScoreBound& bound, double share) {
    residual[t] = static_cast<float>(bound.residual);
    path[t] = static_cast<float>(bound.path);
    per_norm[t] = static_cast<float>(bound.per_norm);
    per_half_sq_norm[t] = static_cast<float>(bound.per_half_sq_norm);
    constant[t] = static_cast<float>(bound.constant);
    along[t] = static_cast<float>(share);
    floor[t] = -kInfinity;
  }

  // The bounds of kFloats tokens, for codewords no longer than `norm`.
  FloatVector bound(int64_t t, float norm, float dropped) const {
    const BoundLanes lanes(load(residual + t), load(path + t), load(per_norm + t),
                           load(per_half_sq_norm + t), load(constant + t));
    return lanes.of_blocks(splat(norm), splat(dropped));
  }
};

// How far a token's scores may be from the true scores.
ScoreBound bound_of(const Codewords& book, const TokenParts& parts) {
  ScoreHistory history;
  start(history, parts.rest, parts.rounding);
  if (book.mean != nullptr) {
    history.magnitudes += 4 * std::fabs(parts.along) * book.mean_norm;
    if (!(parts.norm < 0x1p60)) history.path = std::numeric_limits<double>::infinity();
  }
  return ScoreBound(history, book.D);
}

// Turns the products of kFloats tokens with one block of codewords into scores, and lists those
// that may be a token's greatest true score.
template <bool kHasMean>
class BlockLister {
 public:
  BlockLister(const Codewords& book, int64_t b)
      : half_sq_norms_(book.half_sq_norms + b * kBlock),
        along_mean_(kHasMean ? book.along_mean + b * kBlock : nullptr),
        first_(b * kBlock),
        norm_(book.block_norm[b]),
        dropped_(book.block_rounding[b]) {}

  // Some codeword of the block has a true score of at least best - bound. The floor is the greatest
  // such value so far, and the nearest codeword's screened score is at least the floor minus its
  // own block's bound. Comparisons are written so that NaN rules nothing out.
  void list(const float* products, Tokens& tokens, int64_t t, int count, Shortlist* lists,
            Candidate* candidates) const {
    FloatVector rows[kFloats];
    for (int i = 0; i < kFloats; ++i) {
      rows[i] = greatest(products + i * kBlock, tokens.along[t + i]);
    }
    const FloatVector best = max_lanes(rows);
    const FloatVector bound = tokens.bound(t, norm_, dropped_);
    const FloatVector reach = bound + kSlack * (max(best, -best) + bound);
    FloatVector floor = load(tokens.floor + t);
    uint32_t open = ~below(best + reach, floor) & ((1u << count) - 1);
    if (open == 0) return;
    floor = max(best - reach, floor);
    store(tokens.floor + t, floor);
    for (; open != 0; open &= open - 1) {
      const int i = __builtin_ctz(open);
      add(products + i * kBlock, tokens.along[t + i], floor[i], reach[i], lists[i],
          candidates + i * Shortlist::kRoom);
    }
  }

 private:
  // Sums in float32 lose less than this share.
  static constexpr float kSlack = 0x1p-20f;

  FloatVector score(const float* products, float along, int64_t j) const {
    const FloatVector score = load(products + j) - load(half_sq_norms_ + j);
    if constexpr (!kHasMean) return score;
    return score + splat(along) * load(along_mean_ + j);
  }

  FloatVector greatest(const float* products, float along) const {
    FloatVector best = splat(-kInfinity);
    for (int64_t j = 0; j < kBlock; j += kFloats) best = max(score(products, along, j), best);
    return best;
  }

  void add(const float* products, float along, float floor, float reach, Shortlist& list,
           Candidate* candidates) const {
    if (!(reach < kInfinity)) list.count = Shortlist::kAll;
    if (list.count == Shortlist::kAll) return;
    const FloatVector threshold = splat(floor - reach);
    for (int64_t v = 0; v < kBlock; v += kFloats) {
      const FloatVector scores = score(products, along, v);
      uint32_t lanes = ~below(scores, threshold) & ((1u << kFloats) - 1);
      for (; lanes != 0; lanes &= lanes - 1) {
        const int i = __builtin_ctz(lanes);
        if (list.count == Shortlist::kRoom) drop_ruled_out(list, floor, candidates);
        if (list.count == Shortlist::kRoom) {
          list.count = Shortlist::kAll;
          return;
        }
        candidates[list.count++] = {scores[i] + reach, static_cast<int32_t>(first_ + v + i)};
      }
    }
  }

  static void drop_ruled_out(Shortlist& list, float floor, Candidate* candidates) {
    list.count = 0;
    for (int64_t i = 0; i < Shortlist::kRoom; ++i) {
      if (!(candidates[i].ceiling < floor)) candidates[list.count++] = candidates[i];
    }
  }

  const float *half_sq_norms_, *along_mean_;
  int64_t first_;
  float norm_, dropped_;
};

// The index of the nearest of a token's candidates.
int64_t nearest_listed(const Codewords& book, const ShortlistTile& tile, int64_t t,
                       const float* residual) {
  const int64_t T = tile.screen.T;
  Nearest nearest(book, residual, tile.screen.parts[t].norm);
  float floor = -kInfinity;
  for (int64_t p = 0; p < tile.parts; ++p) floor = std::fmax(floor, tile.lists[p * T + t].floor);
  for (int64_t p = 0; p < tile.parts; ++p) {
    const Shortlist& list = tile.lists[p * T + t];
    const Candidate* candidates = tile.candidates + (p * T + t) * Shortlist::kRoom;
    for (int64_t i = 0; i < list.count; ++i) {
      const int64_t j = book.order[candidates[i].at];
      if (j >= 0 && !(candidates[i].ceiling < floor)) nearest.consider(j);
    }
    if (list.count != Shortlist::kAll) continue;
    const int64_t last = tile.first_block(book, p + 1) * kBlock;
    for (int64_t at = tile.first_block(book, p) * kBlock; at < last; ++at) {
      if (book.order[at] >= 0) nearest.consider(book.order[at]);
    }
  }
  return nearest.best();
}

template <bool kHasMean>
void list_all(const Codewords& book, const ShortlistTile& tile, int64_t first, int64_t stop,
              int64_t part) {
  const int64_t T = tile.screen.T, depth = packed_depth(book.D);
  const auto* packed_tokens = static_cast<const Packed*>(tile.screen.tokens);
  const auto* panels = static_cast<const Packed*>(book.panels);
  Shortlist* lists = tile.lists + part * T;
  Candidate* candidates = tile.candidates + part * T * Shortlist::kRoom;
  Tokens tokens = {};
  for (int64_t t = first; t < stop; ++t) {
    const TokenParts& parts = tile.screen.parts[t];
    tokens.set(t - first, bound_of(book, parts), parts.along);
    lists[t].count = 0;
  }
  alignas(64) float products[kTokenGroup * kBlock] = {};
  for (int64_t b = tile.first_block(book, part); b < tile.first_block(book, part + 1); ++b) {
    const BlockLister<kHasMean> lister(book, b);
    for (int64_t group = first; group < stop; group += kTokenGroup) {
      const int64_t left = stop - group < kTokenGroup ? stop - group : kTokenGroup;
      multiply_block(packed_tokens + group * depth, left, panels + b * kBlock * depth, book.D,
                     kBlock, products, kBlock);
      for (int64_t t = group; t < group + left; t += kFloats) {
        const int count = static_cast<int>(stop - t < kFloats ? stop - t : kFloats);
        lister.list(products + (t - group) * kBlock, tokens, t - first, count, lists + t,
                    candidates + t * Shortlist::kRoom);
      }
    }
  }
  for (int64_t t = first; t < stop; ++t) lists[t].floor = tokens.floor[t - first];
}

}  // namespace

int64_t product_depth() { return kProductDepth; }

void list_candidates(const Codewords& book, const ShortlistTile& tile, int64_t begin, int64_t end,
                     int64_t part) {
  const IeeeDenormals denormals;
  const MatrixUnit unit;
  const int64_t first = begin * kTokenGroup, T = tile.screen.T;
  const int64_t stop = end * kTokenGroup < T ? end * kTokenGroup : T;
  if (book.mean == nullptr) {
    list_all<false>(book, tile, first, stop, part);
  } else {
    list_all<true>(book, tile, first, stop, part);
  }
}

bool settle(const Codewords& book, const ShortlistTile& tile, bool first, int64_t L, int64_t* codes,
            float* quantized, float* sq_norms, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t t = begin; t < end; ++t) {
    if (!std::isfinite(tile.screen.parts[t].norm)) return false;
    float* residual = tile.screen.residual + t * book.D;
    const int64_t nearest = nearest_listed(book, tile, t, residual);
    const double sq_norm = subtract_codeword(book.words + nearest * book.D, book.D, first, residual,
                                             quantized + t * book.D);
    codes[t * L] = nearest;
    sq_norms[t * L] = static_cast<float>(sq_norm);
    if (!std::isfinite(sq_norm)) return false;
  }
  return true;
}

}  // namespace craft::CRAFT_ISA
