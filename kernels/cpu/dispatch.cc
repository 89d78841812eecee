#include "kernels/cpu/dispatch.h"

#include <algorithm>

namespace potluck {
namespace {

std::string Names(const std::vector<Dispatch>& dispatches) {
  std::string names;
  for (const Dispatch dispatch : dispatches) names += (names.empty() ? "" : ", ") + std::string(ToString(dispatch));
  return names;
}

}  // namespace

std::string_view ToString(Dispatch dispatch) {
  switch (dispatch) {
    case Dispatch::kScalar:
      return "scalar";
    case Dispatch::kAvx2:
      return "avx2";
    case Dispatch::kAvx512:
      return "avx512";
  }
  return "unknown";
}

#if defined(__x86_64__)
std::vector<Dispatch> AllDispatches() { return {Dispatch::kAvx512, Dispatch::kAvx2, Dispatch::kScalar}; }

// The compiler's runtime asks the processor and the operating system (which must save the wide registers).
bool IsSupported(Dispatch dispatch) {
  switch (dispatch) {
    case Dispatch::kScalar:
      return true;
    case Dispatch::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
             __builtin_cpu_supports("popcnt");
    case Dispatch::kAvx512:
      return IsSupported(Dispatch::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
  }
  return false;
}

bool HasVpopcntdq() { return IsSupported(Dispatch::kAvx512) && __builtin_cpu_supports("avx512vpopcntdq"); }
bool HasVbmi2() { return IsSupported(Dispatch::kAvx512) && __builtin_cpu_supports("avx512vbmi2"); }
#else
std::vector<Dispatch> AllDispatches() { return {Dispatch::kScalar}; }
bool IsSupported(Dispatch dispatch) { return dispatch == Dispatch::kScalar; }
bool HasVpopcntdq() { return false; }
bool HasVbmi2() { return false; }
#endif

std::vector<Dispatch> SupportedDispatches() {
  std::vector<Dispatch> dispatches = AllDispatches();
  std::erase_if(dispatches, [](Dispatch dispatch) { return !IsSupported(dispatch); });
  return dispatches;
}

Result<Dispatch> ChooseDispatch(std::string_view name) {
  if (name == "auto") return SupportedDispatches().front();
  for (const Dispatch dispatch : {Dispatch::kAvx512, Dispatch::kAvx2, Dispatch::kScalar}) {
    if (name != ToString(dispatch)) continue;
    if (IsSupported(dispatch)) return dispatch;
    return Status::Error("dispatch is \"" + std::string(name) +
                         "\", which this processor cannot run; allowed here: auto, " + Names(SupportedDispatches()) +
                         ".");
  }
  return Status::Error("dispatch is \"" + std::string(name) + "\"; allowed: auto, " + Names(AllDispatches()) + ".");
}

}  // namespace potluck
