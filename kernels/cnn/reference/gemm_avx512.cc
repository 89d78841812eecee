#include "kernels/cnn/reference/gemm_kernel.h"

namespace potluck::cnn::reference {

void GemmAvx512(size_t m, size_t n, size_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c) {
  Kernel<float, 64>::Run(m, n, k, a, b, c);
}

}  // namespace potluck::cnn::reference
