// A Runner over the GPU plug-in: the program's side of kernels/cuda/plugin.h. Fails with the plug-in's sentence.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kernels/workload/runner.h"
#include "kernels/workload/status.h"

namespace potluck::cuda {

// `index` counts the devices that Plugin::Devices lists. The runner keeps the plug-in loaded.
Result<std::unique_ptr<Runner>> MakeGpuRunner(std::string_view workload, const std::string& plugin_path, int index);

}  // namespace potluck::cuda
