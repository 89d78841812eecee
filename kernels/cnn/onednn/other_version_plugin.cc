// A plug-in of an interface version that no program has: what the loader's test loads.
#include "kernels/cnn/onednn/plugin.h"

extern "C" __attribute__((visibility("default"))) const potluck::cnn::OnednnPlugin* potluck_onednn_plugin() {
  static constexpr potluck::cnn::OnednnPlugin kPlugin = {potluck::cnn::kOnednnAbiVersion + 1000, nullptr, nullptr};
  return &kPlugin;
}
