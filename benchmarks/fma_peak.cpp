// The processor's peak rate of multiply-adds on registers, in float32 and in bfloat16: an upper
// bound for any matrix product.
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));

constexpr int64_t kSteps = 10'000'000;
constexpr int kChains = 24;  // independent, to hide the latency of the units

static float multiply_add(int64_t steps) {
  constexpr int chains = kBytes == 64 ? kChains : 12;
  Vector sums[chains];
  const Vector a = Vector{} + 0.999999f, b = Vector{} + 1e-6f;
  for (int i = 0; i < chains; ++i) sums[i] = Vector{} + static_cast<float>(i);
  for (int64_t s = 0; s < steps * kChains / chains; ++s) {
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sums[i] = sums[i] * a + b;
  }
  float total = 0;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

#if defined(__AVX512BF16__)
static float multiply_bfloat16_pairs(int64_t steps) {
  __m512 sums[kChains];
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}
#endif

// Operations per second of all threads together.
template <typename Loop>
static double rate(int threads, double operations, Loop loop) {
  std::vector<std::thread> workers;
  std::vector<float> kept(threads);
  const auto begin = std::chrono::steady_clock::now();
  for (int t = 0; t < threads; ++t) workers.emplace_back([&, t] { kept[t] = loop(kSteps); });
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return operations * kSteps * threads / seconds.count();
}

extern "C" double float32_peak(int threads) {
  return rate(threads, 2.0 * kChains * (kBytes / 4), multiply_add);
}

// The rate of AVX512-BF16; 0 if the processor lacks it.
extern "C" double bfloat16_peak([[maybe_unused]] int threads) {
#if defined(__AVX512BF16__)
  return rate(threads, 4.0 * kChains * 16, multiply_bfloat16_pairs);
#else
  return 0;
#endif
}
