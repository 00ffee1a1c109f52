// The matrix product of this instruction set. The three files define the same names.
#pragma once

#if defined(__AMX_BF16__)
#include "product_amx.h"
#elif defined(__AVX512BF16__)
#include "product_bf16.h"
#else
#include "product_fma.h"
#endif

namespace craft::CRAFT_ISA {

// Packed numbers come in units of 4 bytes: components [d, d + kUnit) of one vector.
inline constexpr int kPackedUnit = sizeof(float) / sizeof(Packed);

}  // namespace craft::CRAFT_ISA
