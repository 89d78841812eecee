// What `potluck train` is told: what to train and how, where, and what to go on from.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/arguments.h"
#include "cli/local_run.h"
#include "cli/submission.h"
#include "cli/train_flags.h"

namespace potluck {

struct TrainOptions {
  TrainFlags train;
  LocalRunFlags local;
  JobFlags job;
  std::string data, out, init;
  std::string mirror;       // A folder for copies of the states; empty: none, or the one resumed from.
  uint64_t resume_job = 0;  // Of the coordinator's, or of `out`; 0: none.
  std::string resume_from;  // A mirror; empty: none.
  bool plan = false;
  bool overwrite = false;
  Args typed;  // For the run record.

  bool resumes() const { return resume_job != 0 || !resume_from.empty(); }
  const std::string& mirror_path() const { return mirror.empty() ? resume_from : mirror; }

  void Declare(Arguments& arguments);
  // What contradicts itself: InvalidArgument names both flags.
  absl::Status Check() const;
};

}  // namespace potluck
