// The backend of the plug-in: stages.h as a Backend.
#pragma once

#include <memory>
#include <string>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

// As in OnednnPlugin.
std::string OnednnDeviceClass();
Result<std::unique_ptr<Backend>> MakeOnednnBackend(const Model& model, Precision precision, const std::string& vectors);

}  // namespace potluck::cnn
