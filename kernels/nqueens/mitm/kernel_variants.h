// The kernels that this build has, one file each. The argument only chooses the word size.
#pragma once

#include "kernels/nqueens/mitm/kernel.h"

namespace potluck::nqueens::mitm {

const Kernel<uint32_t>& ScalarKernel(uint32_t);
const Kernel<uint64_t>& ScalarKernel(uint64_t);
#if defined(__x86_64__)
const Kernel<uint32_t>& Avx2Kernel(uint32_t);
const Kernel<uint64_t>& Avx2Kernel(uint64_t);
const Kernel<uint32_t>& Avx512Kernel(uint32_t);  // Without VPOPCNTDQ.
const Kernel<uint64_t>& Avx512Kernel(uint64_t);
const Kernel<uint32_t>& Avx512PopcountKernel(uint32_t);
const Kernel<uint64_t>& Avx512PopcountKernel(uint64_t);
#endif

}  // namespace potluck::nqueens::mitm
