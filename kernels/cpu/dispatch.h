// Which of the CPU code paths serves: each is compiled for its own instruction set, in files of its own, and one is
// chosen when a runner is made. Pure functions, thread-safe.
//
// What the paths require, so that code may rely on it:
//   scalar   nothing beyond the compiler's target: what Arm runs
//   avx2     AVX2, BMI1, BMI2, POPCNT (Haswell, Zen and later)
//   avx512   that, and AVX-512 F, BW, CD, DQ, VL (Skylake-X, Zen 4 and later); VPOPCNTDQ and
//            VBMI2 are used where HasVpopcntdq() and HasVbmi2()
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/workload/status.h"

namespace potluck {

enum class Dispatch { kScalar, kAvx2, kAvx512 };

std::string_view ToString(Dispatch dispatch);

// All that this build has, the fastest first; whether this processor can run them or not.
std::vector<Dispatch> AllDispatches();
bool IsSupported(Dispatch dispatch);
// AllDispatches() that are supported: never empty.
std::vector<Dispatch> SupportedDispatches();

// "auto" is the fastest supported one. A sentence for an unknown name, and for a path that this processor cannot run.
Result<Dispatch> ChooseDispatch(std::string_view name);

// Whether the processor counts bits in vectors (AVX512_VPOPCNTDQ: Ice Lake, Zen 4 and later).
bool HasVpopcntdq();
// Whether it compresses 16-bit lanes (AVX512_VBMI2: Ice Lake, Zen 4 and later).
bool HasVbmi2();

}  // namespace potluck
