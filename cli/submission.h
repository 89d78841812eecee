// What the commands share that submit a job: the flags that every job takes, where it is submitted, and how.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/arguments.h"
#include "cli/client.h"
#include "cli/local_run.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "proto/jobs.pb.h"
#include "proto/join_string.h"

namespace potluck {

struct JobFlags {
  std::string name;
  int priority = 0;
  double weight = 1;
  double verify = 0;
  absl::Duration patience = absl::Minutes(10);
  bool json = false;

  void Declare(Arguments& arguments);
  // A request of that workload with what the flags say.
  v1::SubmitRequest Request(const std::string& workload, const std::string& spec) const;
};

// Submits it once, however often an answer is lost; the job's number.
absl::StatusOr<uint64_t> SubmitJob(Client& client, v1::SubmitRequest request);

// The server that was named, or one started on this machine with its workers, which `run` then keeps. InvalidArgument
// where what was typed is wrong. `state_directory` and `result_bytes` as LocalRun::Start takes them.
absl::StatusOr<JoinString> OpenTable(const LocalRunFlags& local, const JobFlags& job,
                                     const std::string& state_directory, uint64_t result_bytes, Interrupt& interrupt,
                                     ProgressDisplay& display, std::unique_ptr<LocalRun>& run);

}  // namespace potluck
