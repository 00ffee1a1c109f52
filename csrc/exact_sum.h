// The sign of a sum of products of floats, in real arithmetic.
#pragma once

#include <bit>
#include <cstdint>

#include "host_device.h"

namespace craft::CRAFT_ISA {

// A fixed-point number wide enough for every product of two floats: bit 0 stands for 2^-298, the
// square of the smallest denormal. Each 64-bit limb holds 32 bits and leaves the rest for carries,
// so 2^30 products can be added before any carry must be propagated.
class ExactSum {
 public:
  // The highest bit position is 253 + 253 + 1, in limb 15; a product spans two more limbs, and two
  // are for carries.
  static constexpr int kLimbs = 20;

  // Adds sign * 2^doublings * x * y, for sign = 1 or -1 and doublings = 0 or 1.
  CRAFT_HOST_DEVICE void add_product(float x, float y, int doublings, int sign) {
    const Parts a = split(x), b = split(y);
    const int position = a.exponent + b.exponent + doublings;
    unsigned __int128 bits = a.mantissa * b.mantissa;
    bits <<= position & 31;
    if (a.negative != b.negative) sign = -sign;
    int64_t* limb = limbs + (position >> 5);
    for (int i = 0; i < 3; ++i) limb[i] += sign * static_cast<int64_t>((bits >> 32 * i) & kMask);
  }

  CRAFT_HOST_DEVICE int sign() {
    int64_t carry = 0;
    bool nonzero = false;
    for (int64_t& limb : limbs) {
      limb += carry;
      carry = limb >> 32;
      limb &= kMask;
      nonzero |= limb != 0;
    }
    return carry < 0 ? -1 : nonzero ? 1 : 0;
  }

  int64_t limbs[kLimbs] = {};  // two sums are added limb by limb

 private:
  static constexpr uint32_t kMask = 0xffffffff;

  // x = (negative ? -1 : 1) * mantissa * 2^(exponent - 149)
  struct Parts {
    uint64_t mantissa;
    int exponent;
    bool negative;
  };

  CRAFT_HOST_DEVICE static Parts split(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const int biased = (bits >> 23) & 0xff;
    const uint64_t fraction = bits & 0x7fffff;
    if (biased == 0) return {fraction, 0, (bits >> 31) != 0};
    return {fraction | 0x800000, biased - 1, (bits >> 31) != 0};
  }
};

}  // namespace craft::CRAFT_ISA
