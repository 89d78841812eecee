#include "kernels/nqueens/slices.h"

#include <algorithm>
#include <chrono>
#include <string>

namespace potluck::nqueens {
namespace {

// A slice grows past the largest so far by this factor at most, because small ones measure mostly overhead.
constexpr double kGrowth = 8;
// What has begun cannot be given to an idle worker any more, so slices get shorter toward the end of the interval: this
// share of what is left, and so many seconds at least.
constexpr double kShareOfRest = 0.25, kShortest = 0.05;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Steering SteeringOf(RunControl& control) {
  return {[&control](uint64_t begin, uint64_t wanted) { return control.Claim(begin, wanted); },
          [&control] { return control.cancelled(); }};
}

double SlicePacer::Next(double slice_seconds, double rest, double least) const {
  if (per_second_ <= 0) return first_;
  const double seconds = std::min(slice_seconds, std::max(rest / per_second_ * kShareOfRest, kShortest));
  return std::min(std::max(per_second_ * seconds, least), std::max(most_, first_) * kGrowth);
}

void SlicePacer::Took(double work, double seconds) {
  if (work <= 0) return;
  per_second_ = work / seconds;
  most_ = std::max(most_, work);
}

Status RunSlices(Interval interval, const Steering& steering, const RunOptions& options, SliceComputer& computer,
                 SlicePacer& pacer, const SliceSink& sink) {
  if (interval.begin > interval.end || interval.end > computer.Size()) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: within " +
                         ToString(Interval{0, computer.Size()}) + ".");
  }
  uint64_t begin = interval.begin;
  while (begin < interval.end) {
    if (Status status = computer.Prepare(begin); !status.ok()) return status;
    const Interval rest{begin, interval.end};
    const double work = pacer.Next(options.slice_seconds, computer.Work(rest), computer.LeastWork());
    const Interval slice{begin, std::min(steering.claim(begin, computer.Cut(rest, work)), interval.end)};
    if (slice.empty()) break;
    const double start = Seconds();
    const Result<std::optional<Counts>> counts = computer.Compute(slice, steering);
    if (!counts.ok()) return counts.status();
    if (!counts->has_value()) break;
    const double busy = std::max(Seconds() - start, 1e-9);
    pacer.Took(computer.Work(slice), busy);
    sink(slice, Encode(**counts), busy);
    begin = slice.end;
  }
  return Status();
}

}  // namespace potluck::nqueens
