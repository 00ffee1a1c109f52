// The matrix product of this instruction set: see the two files for what both define.
#pragma once

#if defined(__AMX_BF16__)
#include "product_amx.h"
#else
#include "product_fma.h"
#endif
