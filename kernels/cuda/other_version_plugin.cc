// A plug-in of an interface version that no program has: what the loader's test loads.
#include "kernels/cuda/plugin.h"

extern "C" __attribute__((visibility("default"))) const PotluckCudaPlugin* potluck_cuda_plugin(void) {
  static PotluckCudaPlugin plugin{};
  plugin.abi_version = POTLUCK_CUDA_ABI_VERSION + 1000;
  return &plugin;
}
