// Whether the processor has AMX tiles with bfloat16 products and the kernel lets this process use
// them: Linux grants the 8 KiB of tile state only on request.
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace craft {

inline bool amx_available() {
  constexpr unsigned kTiles = 1u << 24, kBfloat16 = 1u << 22;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // <asm/prctl.h>, XFEATURE_XTILE_DATA
  unsigned a, b, c, features;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &features)) return false;
  if ((features & kTiles) == 0 || (features & kBfloat16) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace craft
#else
namespace craft {

inline bool amx_available() { return false; }

}  // namespace craft
#endif
