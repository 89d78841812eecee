// Which backend serves on this machine's CPU.
#include <utility>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/onednn/plugin.h"

namespace potluck::cnn {

Result<std::unique_ptr<Backend>> MakeCpuBackend(const Model& model, Precision precision,
                                                const std::string& onednn_plugin, std::string* note) {
  if (note != nullptr) note->clear();
  if (precision == Precision::kFp16) {
    return Status::Error("precision is fp16, which is for GPUs; allowed on a CPU: fp32, bf16.");
  }
  std::string reason = "No CPU plug-in is named; the portable kernels are used, which are slower.";
  if (!onednn_plugin.empty()) {
    const Result<const OnednnPlugin*> plugin = LoadOnednnPlugin(onednn_plugin);
    if (plugin.ok()) {
      Result<std::unique_ptr<Backend>> backend = (*plugin)->make_backend(model, precision, "");
      if (backend.ok() || precision != Precision::kFp32) return backend;
      reason = backend.status().message() + " The portable kernels are used, which are slower.";
    } else {
      reason = plugin.status().message();
    }
  }
  if (precision != Precision::kFp32) {
    return Status::Error("precision is bf16, which the portable kernels do not have; allowed here: fp32. " + reason);
  }
  if (note != nullptr) *note = std::move(reason);
  return MakeReferenceBackend(model);
}

std::string CpuBackendClass(const std::string& onednn_plugin) {
  if (!onednn_plugin.empty()) {
    const Result<const OnednnPlugin*> plugin = LoadOnednnPlugin(onednn_plugin);
    const std::string device_class = plugin.ok() ? (*plugin)->device_class() : "";
    if (!device_class.empty()) return device_class;
  }
  return "reference/1";
}

}  // namespace potluck::cnn
