// How the runner of any N-Queens algorithm goes through an interval: in slices of about the wanted length, each claimed
// before it is begun. The algorithms differ in what a slice's work is and in how it is done (SliceComputer).
//
// Not thread-safe, except that what steers may come from other threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "kernels/nqueens/payload.h"
#include "kernels/workload/run_control.h"
#include "kernels/workload/runner.h"

namespace potluck::nqueens {

// How a runner is steered while it runs; RunControl behind an interface that also works across the plug-in.
struct Steering {
  std::function<uint64_t(uint64_t begin, uint64_t wanted_end)> claim;
  std::function<bool()> cancelled;
};

// Borrows `control`.
Steering SteeringOf(RunControl& control);

// Predicts from the slices so far how much work the next one shall be. Work is in any unit that time is about
// proportional to.
class SlicePacer {
 public:
  // What to begin with, when no speed is known.
  explicit SlicePacer(double first) : first_(first) {}

  // `slice_seconds` as in RunOptions; `rest` is the work that is left. At least `least`, once the speed is known.
  double Next(double slice_seconds, double rest, double least) const;
  void Took(double work, double seconds);

 private:
  double first_;
  double per_second_ = 0;  // Of the last slice; 0: unknown.
  double most_ = 0;        // In one slice.
};

// One round of one algorithm on one device.
class SliceComputer {
 public:
  virtual ~SliceComputer() = default;
  // Number of indices.
  virtual uint64_t Size() const = 0;
  virtual double Work(Interval interval) const = 0;
  // The end of a slice of about `work`, in (rest.begin, rest.end].
  virtual uint64_t Cut(Interval rest, double work) const = 0;
  virtual double LeastWork() const { return 0; }
  // What has to be there before the slice that begins at this index, and shall not count for its speed.
  virtual Status Prepare(uint64_t /*index*/) { return Status(); }
  // nullopt when cancelled.
  virtual Result<std::optional<Counts>> Compute(Interval slice, const Steering& steering) = 0;
};

// As Runner::Run.
Status RunSlices(Interval interval, const Steering& steering, const RunOptions& options, SliceComputer& computer,
                 SlicePacer& pacer, const SliceSink& sink);

}  // namespace potluck::nqueens
