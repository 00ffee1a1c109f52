// The pruning order by comparing one token with all others of its image, for a GPU with one thread
// per token. Rules and arithmetic are those of the CPU (prune_rules.h); only sorting differs: a
// token's rank is the number of tokens that come before it.
#pragma once

#include <cstdint>

#include "../prune_rules.h"

namespace craft::CRAFT_ISA {

// The cues of a token among those with its ID.
struct Cues {
  int64_t count;        // their number, including the token
  int64_t less, equal;  // how many of their residuals are less than its own, or equal to it
  int64_t isolation;    // the sum of the distances to the nearest
};

// Scratch memory for the tokens of all images.
struct PruneScratch {
  PruneScratch(void* memory, int64_t count)
      : cues(static_cast<Cues*>(memory)), tokens(reinterpret_cast<Token*>(cues + count)) {}

  static int64_t bytes(int64_t count) {
    return count * static_cast<int64_t>(sizeof(Cues) + sizeof(Token));
  }

  Cues* cues;
  Token* tokens;
};

CRAFT_INLINE CRAFT_HOST_DEVICE int64_t image_of(const PruneOrderArgs& args, int64_t image) {
  return image * args.height * args.width;
}

// The first of four steps; each needs the previous one to be done for all tokens of the image.
CRAFT_INLINE CRAFT_HOST_DEVICE void measure_cues(const PruneOrderArgs& args,
                                                 const PruneScratch& scratch, int64_t image,
                                                 int64_t i) {
  const int64_t N = args.height * args.width, first = image_of(args, image);
  const int64_t* ids = args.ids + first;
  const float* residual_sq = args.residual_sq + first;
  Cues cues = {};
  for (int64_t j = 0; j < N; ++j) {
    if (ids[j] != ids[i]) continue;
    ++cues.count;
    cues.less += residual_sq[j] < residual_sq[i];
    cues.equal += residual_sq[j] == residual_sq[i];
  }
  const int64_t others = cues.count - 1;
  const int64_t wanted = args.neighbors < others ? args.neighbors : others;
  cues.isolation = walk_to_nearest(args, ids, static_cast<int32_t>(i / args.width),
                                   static_cast<int32_t>(i % args.width), wanted);
  scratch.cues[first + i] = cues;
}

CRAFT_INLINE CRAFT_HOST_DEVICE void score_token(const PruneOrderArgs& args,
                                                const PruneScratch& scratch, int64_t image,
                                                int64_t i) {
  const int64_t N = args.height * args.width, first = image_of(args, image);
  const int64_t* ids = args.ids + first;
  const Cues* cues = scratch.cues + first;
  Token token = {0, fixed_log(args.prior[ids[i]]), kNoContrast, i};
  if (cues[i].count > 1) {
    int64_t less = 0, equal = 0;
    for (int64_t j = 0; j < N; ++j) {
      if (ids[j] != ids[i]) continue;
      less += cues[j].isolation < cues[i].isolation;
      equal += cues[j].isolation == cues[i].isolation;
    }
    const double score = plus_cue(kNoScore, 1 - args.isolation_weight, cues[i].less, cues[i].equal);
    token.score = scaled(plus_cue(score, args.isolation_weight, less, equal), cues[i].count);
  }
  scratch.tokens[first + i] = token;
}

// Reads no critical value, because other threads are writing them.
CRAFT_INLINE CRAFT_HOST_DEVICE void set_critical_value(const PruneOrderArgs& args,
                                                       const PruneScratch& scratch, int64_t image,
                                                       int64_t i) {
  const int64_t N = args.height * args.width, first = image_of(args, image);
  const int64_t* ids = args.ids + first;
  Token* tokens = scratch.tokens + first;
  const Token self = {0, tokens[i].log_prior, tokens[i].score, i};
  int64_t slot = 0, rarest = self.log_prior;
  for (int64_t j = 0; j < N; ++j) {
    const Token other = {0, tokens[j].log_prior, tokens[j].score, j};
    slot += ids[j] == ids[i] && kept_longer(other, self);
    rarest = other.log_prior < rarest ? other.log_prior : rarest;
  }
  tokens[i].critical =
      critical_value(args.log_counts, scratch.cues[first + i].count, slot, self.log_prior - rarest);
}

CRAFT_INLINE CRAFT_HOST_DEVICE void place_token(const PruneOrderArgs& args,
                                                const PruneScratch& scratch, int64_t image,
                                                int64_t i) {
  const int64_t N = args.height * args.width, first = image_of(args, image);
  const Token* tokens = scratch.tokens + first;
  const Token self = tokens[i];
  int64_t place = 0;
  for (int64_t j = 0; j < N; ++j) place += kept_longer(tokens[j], self);
  args.order[first + place] = i;
}

}  // namespace craft::CRAFT_ISA
