// The backend of the plug-in: stages.h as a Backend.
//
// In bf16, dense layers round the factors of their products to bfloat16 and add in 32 bits. Convolutions stay in 32
// bits: Winograd's method takes a quarter of the multiplications there, which on processors without matrix units is
// faster than all of them in bfloat16, and its transforms would lose too much of 8 bits.
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
