// What the NVIDIA driver says of itself and of its GPUs, without a plug-in and without CUDA's headers: so a diagnosis
// tells a missing plug-in from a missing driver.
//
// May hang or crash as drivers do: for a child process only (`potluck executor --probe-driver`, asked by ProbeDriver of
// devices.h).
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace potluck {

// One object a line: first {"has_driver": 1, "cuda_version": 12080}, then each GPU with index, name, memory_bytes and
// compute ("7.5"); or {"error": sentence}.
std::vector<nlohmann::json> DescribeDriver(const std::string& library = "libcuda.so.1");

}  // namespace potluck
