// AVX-512 with VPOPCNTDQ (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include <cstdint>

#include "kernels/nqueens/mitm/kernel_variants.h"

namespace potluck::nqueens::mitm {
namespace {

#include "kernels/nqueens/mitm/simd_avx512.h"

#include "kernels/nqueens/mitm/kernel_impl.h"

}  // namespace

const Kernel<uint32_t>& Avx512PopcountKernel(uint32_t) { return kKernel32; }
const Kernel<uint64_t>& Avx512PopcountKernel(uint64_t) { return kKernel64; }

}  // namespace potluck::nqueens::mitm
