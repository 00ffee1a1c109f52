// Chooses, once per process, the instruction set whose copy of the kernels runs.
//
// Every kernel source is compiled once per instruction set, into the namespace CRAFT_ISA (see
// CMakeLists.txt). Kernel sources must not use std:: containers or algorithms: their templates
// become weak symbols, of which the linker keeps a single copy, perhaps the AVX-512 one, for all
// instruction sets.
#pragma once

#include <string_view>

#include "amx_permission.h"

#define CRAFT_FOR_EACH_ISA(X) X(baseline) X(avx2) X(avx512) X(avx512_bf16) X(amx)

namespace craft {

enum class Isa { baseline, avx2, avx512, avx512_bf16, amx };

inline constexpr std::string_view kIsaNames[] = {"baseline", "avx2", "avx512", "avx512_bf16",
                                                 "amx"};

// Whether it is compiled into this module and the processor has it.
inline bool isa_available(Isa isa) {
  switch (isa) {
#ifdef CRAFT_HAVE_avx2
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#ifdef CRAFT_HAVE_avx512
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#ifdef CRAFT_HAVE_avx512_bf16
    case Isa::avx512_bf16:
      return isa_available(Isa::avx512) && __builtin_cpu_supports("avx512bf16");
#endif
#ifdef CRAFT_HAVE_amx
    case Isa::amx:
      return isa_available(Isa::avx512) && amx_available();
#endif
    case Isa::baseline:
      return true;
    default:
      return false;
  }
}

inline Isa best_isa() {
  if (isa_available(Isa::amx)) return Isa::amx;
  if (isa_available(Isa::avx512_bf16)) return Isa::avx512_bf16;
  if (isa_available(Isa::avx512)) return Isa::avx512;
  if (isa_available(Isa::avx2)) return Isa::avx2;
  return Isa::baseline;
}

// Set by bindings/module.cpp when the module is loaded; tests change it.
inline Isa current_isa = Isa::baseline;

}  // namespace craft

#ifdef CRAFT_HAVE_avx2
#define CRAFT_CASE_AVX2(call) \
  case craft::Isa::avx2:      \
    return craft::avx2::call;
#else
#define CRAFT_CASE_AVX2(call)
#endif
#ifdef CRAFT_HAVE_avx512
#define CRAFT_CASE_AVX512(call) \
  case craft::Isa::avx512:      \
    return craft::avx512::call;
#else
#define CRAFT_CASE_AVX512(call)
#endif
#ifdef CRAFT_HAVE_avx512_bf16
#define CRAFT_CASE_AVX512_BF16(call) \
  case craft::Isa::avx512_bf16:      \
    return craft::avx512_bf16::call;
#else
#define CRAFT_CASE_AVX512_BF16(call)
#endif
#ifdef CRAFT_HAVE_amx
#define CRAFT_CASE_AMX(call) \
  case craft::Isa::amx:      \
    return craft::amx::call;
#else
#define CRAFT_CASE_AMX(call)
#endif

// CRAFT_DISPATCH(kernel(arguments)) calls the copy for craft::current_isa. It needs -DCRAFT_HAVE_*,
// which only the sources in bindings/ are given.
#define CRAFT_DISPATCH(...)                  \
  [&] {                                      \
    switch (craft::current_isa) {            \
      CRAFT_CASE_AMX(__VA_ARGS__)            \
      CRAFT_CASE_AVX512_BF16(__VA_ARGS__)    \
      CRAFT_CASE_AVX512(__VA_ARGS__)         \
      CRAFT_CASE_AVX2(__VA_ARGS__)           \
      default:                               \
        return craft::baseline::__VA_ARGS__; \
    }                                        \
  }()
