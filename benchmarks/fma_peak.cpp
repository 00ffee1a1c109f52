// What this processor reaches in float32 multiply-adds on registers alone: the most that any
// product of float32 matrices could.
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));

// Twelve independent chains hide the latency of two units.
static float multiply_add(int64_t steps) {
  Vector sums[12];
  const Vector a = Vector{} + 0.999999f, b = Vector{} + 1e-6f;
  for (int i = 0; i < 12; ++i) sums[i] = Vector{} + static_cast<float>(i);
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = sums[i] * a + b;
  }
  float total = 0;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

// Floating-point operations per second of all threads together.
extern "C" double fma_peak(int threads) {
  constexpr int64_t kSteps = 20'000'000;
  std::vector<std::thread> workers;
  std::vector<float> kept(threads);
  const auto begin = std::chrono::steady_clock::now();
  for (int t = 0; t < threads; ++t) workers.emplace_back([&, t] { kept[t] = multiply_add(kSteps); });
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return 2.0 * 12 * (kBytes / 4) * kSteps * threads / seconds.count();
}
