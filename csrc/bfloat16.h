// Rounding to bfloat16 in integer arithmetic, because the conversion instructions flush denormals.
#pragma once

#include <bit>
#include <cstdint>

#include "host_device.h"

namespace craft::CRAFT_ISA {

// The nearest bfloat16, ties to even; infinity beyond the greatest one.
CRAFT_INLINE float rounded_to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}

// The bits of a float that is a bfloat16.
CRAFT_INLINE uint16_t bfloat16_bits(float x) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
}

}  // namespace craft::CRAFT_ISA
