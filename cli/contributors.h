// Who did how much of a job. Pure functions and values, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/jobs.pb.h"

namespace potluck {

struct Contributor {
  std::string worker;
  uint64_t slices = 0;
  double cost = 0;
  double share = 0;  // Of the cost, 0 to 1.
  double busy_seconds = 0;
  uint64_t bytes_sent = 0, bytes_received = 0;
  std::string devices;  // Their numerics classes.
};

// The largest share first.
std::vector<Contributor> Contributors(const v1::JobStatus& status);

}  // namespace potluck
