// What a device computes before it is trusted: loss and gradient of a tiny network, against recorded numbers.
#pragma once

#include <string>

#include "kernels/workload/status.h"

namespace potluck::cnn {

// By the backend that MakeCpuBackend chooses. Takes a few milliseconds, and what loading the plug-in takes.
Status RunSelfTest(const std::string& onednn_plugin);

}  // namespace potluck::cnn
