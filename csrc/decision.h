// The decision among the few codewords that screening leaves: float64 where its error bound
// separates two of them, exact arithmetic where it does not.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "exact_sum.h"
#include "host_device.h"

namespace craft::CRAFT_ISA {

// One component's part of |r - a|^2 - |r - b|^2 = 2 <r, b> - |b|^2 - 2 <r, a> + |a|^2, which is
// positive where b is nearer to r than a.
CRAFT_INLINE CRAFT_HOST_DEVICE void add_lead(ExactSum& lead, float r, float b, float a) {
  lead.add_product(r, b, 1, 1);
  lead.add_product(b, b, 0, -1);
  lead.add_product(r, a, 1, -1);
  lead.add_product(a, a, 0, 1);
}

// The nearest, in real arithmetic, of the codewords it is shown; on a tie, the one with the lower
// index. So the outcome does not depend on the order in which they are shown.
//
// Words has score(j), <r, c_j> - |c_j|^2 / 2 in float64, and sign_of_lead(j, i), positive where
// codeword j is nearer to r than i. margin: two bounds of such a score's error.
template <typename Words>
class NearestOf {
 public:
  CRAFT_BLOCK_CODE NearestOf(const Words& words, double margin) : words_(words), margin_(margin) {}

  CRAFT_BLOCK_CODE void consider(int64_t j) {
    if (best_ < 0) {  // usually there is no second one, and no score is needed
      best_ = j;
      return;
    }
    if (!scored_) best_score_ = words_.score(best_);
    scored_ = true;
    const double challenger = words_.score(j);
    double lead = challenger - best_score_;
    if (lead < -margin_) return;
    if (lead <= margin_) {
      lead = words_.sign_of_lead(j, best_);
      if (lead < 0 || (lead == 0 && j > best_)) return;
    }
    best_ = j;
    best_score_ = challenger;
  }

  CRAFT_BLOCK_CODE int64_t best() const { return best_; }

 private:
  Words words_;
  double margin_;
  int64_t best_ = -1;
  double best_score_ = 0;
  bool scored_ = false;
};

// The greatest float that is not above x.
CRAFT_INLINE CRAFT_HOST_DEVICE float rounded_down(double x) {
  const float nearest = static_cast<float>(x);
  return nearest > x ? std::nextafter(nearest, -std::numeric_limits<float>::infinity()) : nearest;
}

}  // namespace craft::CRAFT_ISA
