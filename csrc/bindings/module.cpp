// The module craft_kernels._native, and the choice of its instruction set.
#include <iterator>
#include <string>

#include "../dispatch.h"
#include "bindings.h"

namespace {

void use_isa(const std::string& name) {
  for (int i = 0; i < static_cast<int>(std::size(craft::kIsaNames)); ++i) {
    const auto isa = static_cast<craft::Isa>(i);
    if (name == craft::kIsaNames[i] && craft::isa_available(isa)) {
      craft::current_isa = isa;
      return;
    }
  }
  throw pybind11::value_error(
      "the instruction set must be baseline, avx2, avx512, avx512_bf16 or amx, compiled into this "
      "build and supported by this processor; got '" +
      name + "'");
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.def("use_isa", &use_isa,
        "Force an instruction set (baseline, avx2, avx512, avx512_bf16, amx), for tests.");
  m.def("isa", [] { return std::string(craft::kIsaNames[static_cast<int>(craft::current_isa)]); });
  craft::current_isa = craft::best_isa();
  craft::bind_codewords(m);
  craft::bind_screen(m);
  craft::bind_shortlist(m);
  craft::bind_residual_quantize(m);
  craft::bind_prune_order(m);
}
