#include "kernels/cnn/reference/gemm.h"

#include "kernels/cnn/reference/gemm_kernel.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn::reference {

void GemmScalar(size_t m, size_t n, size_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c) {
  Kernel<float, 16>::Run(m, n, k, a, b, c);
}

void GemmDouble(size_t m, size_t n, size_t k, Matrix<const double> a, Matrix<const double> b, Matrix<double> c) {
  Kernel<double, 16>::Run(m, n, k, a, b, c);
}

GemmFunction<float> GemmFor(Dispatch dispatch) {
  switch (dispatch) {
#if defined(__x86_64__)
    case Dispatch::kAvx2:
      return GemmAvx2;
    case Dispatch::kAvx512:
      return GemmAvx512;
#endif
    default:
      return GemmScalar;
  }
}

}  // namespace potluck::cnn::reference
