// A device's runner for training a convolutional network (proto/cnn.proto): gradients, replicas of local steps, and
// evaluations, on the CPU.
//
// A slice is exactly one dyadic block of the round's indices (dyadic.h), or one replica where replicas are compressed.
// Between rounds it keeps the network made ready, the data set's open shards, and the parameters: where the next ones
// are an encoded update away, it takes that instead of fetching them whole.
#pragma once

#include <memory>
#include <string>

#include "kernels/workload/runner.h"

namespace potluck::cnn {

// On `threads` (>= 1) threads, by oneDNN if its plug-in (a path, or empty) can be loaded, else by the portable code.
std::unique_ptr<Runner> MakeCpuRunner(int threads, std::string onednn_plugin);

}  // namespace potluck::cnn
