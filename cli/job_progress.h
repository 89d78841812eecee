// Makes the line that shows how far a job is, of what its coordinator says from time to time. Pure classes: no clock,
// no I/O; not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "proto/jobs.pb.h"

namespace potluck {

class JobProgress {
 public:
  virtual ~JobProgress() = default;
  // `at` is on any monotonic clock.
  virtual void Add(const v1::JobStatus& status, absl::Duration at) = 0;
  // One line without its end, of at most `width` characters where that can be. After the first Add.
  virtual std::string Line(size_t width) const = 0;
};

// What suits the job's workload, as its first status names it.
std::unique_ptr<JobProgress> MakeJobProgress();

}  // namespace potluck
