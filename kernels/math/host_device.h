// Marks functions that the CPU and the GPU share, and names fixed-width integers where no standard header can be
// included (NVRTC). Device code includes this header and others like it, nothing else.
#pragma once

#if defined(__CUDACC_RTC__)
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define POTLUCK_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define POTLUCK_HOST_DEVICE inline __attribute__((always_inline))
#endif
