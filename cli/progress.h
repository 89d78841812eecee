// How fast a job advances and when it will be done, from what was seen of it so far.
//
// Results arrive slice by slice, so that rates jump. The estimate is the mean rate over the last minute; its range is
// what the slow and the fast stretches of that minute (the tenth and the ninetieth percentile) would make of the rest.
// There is none in the first two seconds, and a wide range, half to twice the estimate, while there are few stretches.
// A plain class without clock or I/O; not thread-safe.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"

namespace potluck {

struct ProgressSample {
  absl::Duration at;     // On any monotonic clock.
  double done_cost = 0;  // In the workload's unit.
  double total_cost = 0;
  double rate_hint = 0;  // Cost a second as the coordinator sees it; 0: not known. Used until something is done.
  double nodes = 0;
  double solutions = 0;
};

struct ProgressEstimate {
  double fraction = 0;  // 0 to 1.
  std::optional<double> nodes_per_second;
  std::optional<double> solutions_per_second;
  std::optional<absl::Duration> left;
  std::optional<absl::Duration> left_low, left_high;  // Both or none.
};

class Progress {
 public:
  void Add(const ProgressSample& sample);
  ProgressEstimate Estimate() const;

 private:
  // Cost a second over every stretch of the history that is long enough, ascending.
  std::vector<double> StretchRates() const;

  std::deque<ProgressSample> history_;  // At most a minute, at least a second apart but for the last.
};

}  // namespace potluck
