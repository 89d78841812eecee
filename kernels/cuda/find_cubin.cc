#include "kernels/cuda/cubins.h"

namespace potluck::cuda {

const Cubin* FindCubin(std::string_view kernel, int major, int minor) {
  const Cubin* best = nullptr;
  for (const Cubin& cubin : Cubins()) {
    if (cubin.kernel != kernel || cubin.sm / 10 != major || cubin.sm % 10 > minor) continue;
    if (best == nullptr || cubin.sm > best->sm) best = &cubin;
  }
  return best;
}

Status NoCubin(std::string_view kernel, int major, int minor) {
  std::string known;
  for (const Cubin& cubin : Cubins()) {
    if (cubin.kernel == kernel) known += (known.empty() ? "sm_" : ", sm_") + std::to_string(cubin.sm);
  }
  return Status::Error("This GPU is sm_" + std::to_string(major) + std::to_string(minor) +
                       ", and the plug-in holds machine code for " + known + "; the CPU is used instead.");
}

}  // namespace potluck::cuda
