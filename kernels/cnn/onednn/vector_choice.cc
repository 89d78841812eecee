#include "kernels/cnn/onednn/vector_kernels.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn {

extern const VectorKernels kAvx2Kernels, kAvx512Kernels;

const VectorKernels* Avx2Kernels() {
  return IsSupported(Dispatch::kAvx2) && __builtin_cpu_supports("fma") ? &kAvx2Kernels : nullptr;
}

const VectorKernels* Avx512Kernels() {
  return IsSupported(Dispatch::kAvx512) && __builtin_cpu_supports("fma") ? &kAvx512Kernels : nullptr;
}

}  // namespace potluck::cnn
