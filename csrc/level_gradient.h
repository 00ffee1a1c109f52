#pragma once

#include "host_device.h"

namespace craft::CRAFT_ISA {

// One component, one level: the residual loses its codeword, and the gradient of a multiple of the
// squared residual is added. scale: twice the gradient of |r_l|^2.
CRAFT_INLINE CRAFT_HOST_DEVICE void add_level(float word, float scale, float& residual,
                                              float& grad) {
  residual -= word;
  grad += scale * residual;
}

}  // namespace craft::CRAFT_ISA
