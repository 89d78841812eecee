// The N-Queens search on a GPU: a SeedEngine for SliceRunner over the driver API. Inside the plug-in only; not
// thread-safe. Kernels are in run_cuda.cu.
//
// Two batches of seeds are in flight, so that the host prepares one while the GPU searches the other and the last lanes
// of a launch overlap with the next one. Batches adapt to about a quarter of a second, so that a cancel, which is
// looked at between launches, takes effect within a second.
#pragma once

#include <memory>

#include "kernels/nqueens/backtracking/slice_runner.h"
#include "kernels/workload/status.h"

namespace potluck::nqueens {

// A SliceRunner on device `device_index`; fails when the driver, the device or its machine code does.
Result<std::unique_ptr<SliceRunner>> MakeCudaRunner(int device_index);

}  // namespace potluck::nqueens
