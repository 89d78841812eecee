#include "kernels/nqueens/mitm/kernel.h"

#include "kernels/nqueens/mitm/kernel_variants.h"

namespace potluck::nqueens::mitm {

template <typename Word>
const Kernel<Word>& GetKernel(Dispatch dispatch, bool vector_popcount) {
#if defined(__x86_64__)
  switch (dispatch) {
    case Dispatch::kAvx512:
      return vector_popcount ? Avx512PopcountKernel(Word{}) : Avx512Kernel(Word{});
    case Dispatch::kAvx2:
      return Avx2Kernel(Word{});
    case Dispatch::kScalar:
      break;
  }
#else
  static_cast<void>(dispatch);
  static_cast<void>(vector_popcount);
#endif
  return ScalarKernel(Word{});
}

template const Kernel<uint32_t>& GetKernel(Dispatch dispatch, bool vector_popcount);
template const Kernel<uint64_t>& GetKernel(Dispatch dispatch, bool vector_popcount);

}  // namespace potluck::nqueens::mitm
