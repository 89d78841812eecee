// The coordinator's side of training a convolutional network: a Training (training.h) behind the interface of every
// workload.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/workload/planner.h"

namespace potluck::cnn {

// `spec` is a CnnSpec message; fails with a sentence when it is not a valid one. `blobs` gives what the specification
// names by digest (initial parameters or state), at the first NextRound.
Result<std::unique_ptr<Planner>> MakePlanner(std::string_view spec, BlobReader blobs);

}  // namespace potluck::cnn
