// The worker's side of a workload: computes intervals of a round on one device.
//
// A Runner takes bytes and intervals; it knows nothing of sockets, leases or protobuf. It lives in an executor (a child
// process a device), so that a hung or crashed one takes nothing else down.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/workload/interval.h"
#include "kernels/workload/run_control.h"
#include "kernels/workload/status.h"

namespace potluck {

// Called for each finished slice: consecutive, disjoint, ascending. `busy_seconds` is the time that the device spent on
// it.
using SliceSink = std::function<void(Interval interval, std::string_view payload, double busy_seconds)>;

struct RunOptions {
  double slice_seconds = 2.0;  // Aim for slices of at most about this length.
};

// One device, one workload. Not thread-safe, except that a RunControl may be used from other threads during Run.
class Runner {
 public:
  virtual ~Runner() = default;
  // Computes something with a known answer and compares. Takes at most about a second.
  virtual Status SelfTest() = 0;
  // Prepares for a round (Round::payload). Replaces the round that was open.
  virtual Status Open(std::string_view round_payload) = 0;
  // Computes `interval` of the open round, reporting slices, until its (possibly shrunk) end or until cancelled.
  virtual Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) = 0;
};

}  // namespace potluck
