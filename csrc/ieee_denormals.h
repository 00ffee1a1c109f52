// IEEE handling of denormals within a scope, whatever torch.set_flush_denormal asked for: the exact
// chain of residuals is part of the contract.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace craft::CRAFT_ISA {

class IeeeDenormals {
 public:
  IeeeDenormals(const IeeeDenormals&) = delete;
  IeeeDenormals& operator=(const IeeeDenormals&) = delete;

#if defined(__x86_64__)
  IeeeDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~kFlush); }
  ~IeeeDenormals() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlush = 0x8040;  // flush-to-zero, denormals-are-zero
  unsigned saved_;
#elif defined(__aarch64__)
  IeeeDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ & ~kFlush));
  }
  ~IeeeDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  static constexpr unsigned long kFlush = 1ul << 24;
  unsigned long saved_;
#else
  IeeeDenormals() {}
#endif
};

}  // namespace craft::CRAFT_ISA
