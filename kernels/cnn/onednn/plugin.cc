// What libpotluck_onednn.so exports.
#include "kernels/cnn/onednn/plugin.h"

#include "kernels/cnn/onednn/onednn_backend.h"

extern "C" __attribute__((visibility("default"))) const potluck::cnn::OnednnPlugin* potluck_onednn_plugin() {
  static constexpr potluck::cnn::OnednnPlugin kPlugin = {
      potluck::cnn::kOnednnAbiVersion, potluck::cnn::OnednnDeviceClass, potluck::cnn::MakeOnednnBackend};
  return &kPlugin;
}
