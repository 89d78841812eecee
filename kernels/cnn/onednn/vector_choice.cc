#include "kernels/cnn/onednn/vector_kernels.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn {

extern const VectorKernels kAvx2Kernels, kAvx512Kernels;
extern const DenseKernels kAvx512Bf16Dense;

const VectorKernels* Avx2Kernels() {
  return IsSupported(Dispatch::kAvx2) && __builtin_cpu_supports("fma") ? &kAvx2Kernels : nullptr;
}

const VectorKernels* Avx512Kernels() {
  return IsSupported(Dispatch::kAvx512) && __builtin_cpu_supports("fma") ? &kAvx512Kernels : nullptr;
}

const DenseKernels* Bf16Dense() {
  return Avx512Kernels() != nullptr && __builtin_cpu_supports("avx512bf16") ? &kAvx512Bf16Dense : nullptr;
}

}  // namespace potluck::cnn
