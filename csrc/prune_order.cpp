#include "prune_order.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ieee_denormals.h"
#include "prune_rules.h"

namespace craft::CRAFT_ISA {
namespace {

// std:: algorithms are used only with these types and with Token: types that belong to this file or
// to CRAFT_ISA keep the instantiations for the instruction sets apart (see dispatch.h).
struct Member {
  int64_t id;
  int32_t position, row, column;
};

struct Cue {
  int64_t value;
  int64_t member;  // index within the group
};

struct Distance {
  int64_t units;
};

bool by_id(const Member& a, const Member& b) {
  return a.id != b.id ? a.id < b.id : a.position < b.position;
}

bool by_value(const Cue& a, const Cue& b) { return a.value < b.value; }

constexpr int64_t kScratchOfToken = sizeof(Member) + sizeof(Token) + sizeof(Cue) + sizeof(Distance);
static_assert(kScratchOfToken == kPruneScratchBytes && alignof(Token) == alignof(Member));

class ImageOrder {
 public:
  ImageOrder(const PruneOrderArgs& args, const int64_t* ids, void* scratch)
      : args_(args),
        count_(args.height * args.width),
        ids_(ids),
        members_(static_cast<Member*>(scratch)),
        tokens_(reinterpret_cast<Token*>(members_ + count_)),
        cues_(reinterpret_cast<Cue*>(tokens_ + count_)),
        nearest_(reinterpret_cast<Distance*>(cues_ + count_)) {}

  void run(const float* residual_sq, int64_t* order) {
    for (int32_t i = 0, row = 0; row < args_.height; ++row) {
      for (int32_t column = 0; column < args_.width; ++column, ++i) {
        members_[i] = {ids_[i], i, row, column};
      }
    }
    std::sort(members_, members_ + count_, by_id);
    int64_t rarest = std::numeric_limits<int64_t>::max();
    for (int64_t begin = 0, end; begin < count_; begin = end) {
      end = group_end(begin);
      sort_group(begin, end - begin, residual_sq);
      rarest = std::min(rarest, tokens_[begin].log_prior);
    }
    for (int64_t begin = 0, end; begin < count_; begin = end) {
      end = group_end(begin);
      set_critical_values(begin, end - begin, rarest);
    }
    std::sort(tokens_, tokens_ + count_, kept_longer);
    for (int64_t i = 0; i < count_; ++i) order[i] = tokens_[i].position;
  }

 private:
  int64_t group_end(int64_t begin) const {
    int64_t end = begin + 1;
    while (end < count_ && members_[end].id == members_[begin].id) ++end;
    return end;
  }

  // tokens_[begin, begin + n): the tokens of one ID, best first, critical values still equal.
  void sort_group(int64_t begin, int64_t n, const float* residual_sq) {
    const int64_t log_prior = fixed_log(args_.prior[members_[begin].id]);
    for (int64_t i = begin; i < begin + n; ++i) {
      tokens_[i] = {0, log_prior, kNoScore, members_[i].position};
    }
    if (n == 1) {
      tokens_[begin].score = kNoContrast;
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      // Floats >= 0 are ordered as their bits are; adding zero turns -0 into +0.
      const float residual = residual_sq[members_[begin + i].position] + 0.0f;
      int32_t bits;
      std::memcpy(&bits, &residual, sizeof bits);
      cues_[i] = {bits, i};
    }
    add_ranks(begin, n, 1 - args_.isolation_weight);
    for (int64_t i = 0; i < n; ++i) cues_[i] = {isolation(begin, n, members_[begin + i]), i};
    add_ranks(begin, n, args_.isolation_weight);
    for (int64_t i = begin; i < begin + n; ++i) tokens_[i].score = scaled(tokens_[i].score, n);
    std::sort(tokens_ + begin, tokens_ + begin + n, kept_longer);
  }

  void add_ranks(int64_t begin, int64_t n, double weight) {
    std::sort(cues_, cues_ + n, by_value);
    for (int64_t first = 0, last; first < n; first = last) {
      last = first + 1;
      while (last < n && cues_[last].value == cues_[first].value) ++last;
      for (int64_t i = first; i < last; ++i) {
        double& score = tokens_[begin + cues_[i].member].score;
        score = plus_cue(score, weight, first, last - first);
      }
    }
  }

  // The sum of the distances to the nearest tokens of the same ID. In small groups every token is
  // examined. In large ones the token walks outwards over the grid: only few tokens can be far from
  // their neighbours, so all walks together take O(neighbors N log N) steps, however the IDs lie.
  int64_t isolation(int64_t begin, int64_t n, const Member& member) {
    const int64_t wanted = std::min(args_.neighbors, n - 1);
    if (n * n <= 2 * count_) return search(begin, n, member, wanted);
    return walk_to_nearest(args_, ids_, member.row, member.column, wanted);
  }

  // Keeps the nearest so far in ascending order, among them the token itself, at distance 0.
  int64_t search(int64_t begin, int64_t n, const Member& member, int64_t wanted) {
    for (int64_t j = 0; j <= wanted; ++j) nearest_[j].units = std::numeric_limits<int64_t>::max();
    for (int64_t i = begin; i < begin + n; ++i) {
      int64_t units = distance(members_[i].row - member.row, members_[i].column - member.column);
      for (int64_t j = 0; j <= wanted; ++j) {
        const int64_t kept = nearest_[j].units;
        nearest_[j].units = units < kept ? units : kept;
        units = units < kept ? kept : units;
      }
    }
    int64_t sum = 0;
    for (int64_t j = 0; j <= wanted; ++j) sum += nearest_[j].units;
    return sum;
  }

  int64_t distance(int32_t rows, int32_t columns) const {
    return args_.distances[std::abs(rows) * args_.width + std::abs(columns)];
  }

  void set_critical_values(int64_t begin, int64_t n, int64_t rarest) {
    const int64_t log_weight = tokens_[begin].log_prior - rarest;
    for (int64_t slot = 0; slot < n; ++slot) {
      tokens_[begin + slot].critical = critical_value(args_.log_counts, n, slot, log_weight);
    }
  }

  const PruneOrderArgs& args_;
  const int64_t count_;
  const int64_t* const ids_;
  Member* const members_;  // grouped by ID, raster order within
  Token* const tokens_;
  Cue* const cues_;  // of one group
  Distance* const nearest_;
};

}  // namespace

void prune_order(const PruneOrderArgs& args, int64_t image, void* scratch) {
  const IeeeDenormals denormals;
  const int64_t first = image * args.height * args.width;
  ImageOrder(args, args.ids + first, scratch).run(args.residual_sq + first, args.order + first);
}

}  // namespace craft::CRAFT_ISA
