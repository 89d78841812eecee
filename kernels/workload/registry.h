// The workloads that this build knows, by name. Adding one is adding its line in registry.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/workload/planner.h"
#include "kernels/workload/runner.h"
#include "kernels/workload/status.h"

namespace potluck {

// Options of a CPU runner that every workload understands.
struct CpuOptions {
  int threads = 1;                 // At least 1.
  std::string dispatch = "auto";   // Which code path: "auto" or one of DispatchNames().
  std::string onednn_plugin = {};  // Path of libpotluck_onednn.so; empty: do without. N-Queens has no use for it.
};

// The planner of a job with this specification (bytes of the workload's own); a sentence when the workload is unknown
// or the specification is not valid. `blobs` reads what the job reads; workloads without blobs need none.
Result<std::unique_ptr<Planner>> MakePlanner(std::string_view workload, std::string_view spec,
                                             const BlobReader& blobs = {});

Result<std::unique_ptr<Runner>> MakeCpuRunner(std::string_view workload, const CpuOptions& options);

// A runner on device `index` of the GPU plug-in (kernels/cuda/plugin.h) that was loaded from `plugin_path`.
Result<std::unique_ptr<Runner>> MakeGpuRunner(std::string_view workload, const std::string& plugin_path, int index);

std::vector<std::string> WorkloadNames();
// The CPU code paths that can be forced, "scalar" among them.
std::vector<std::string> DispatchNames();

}  // namespace potluck
