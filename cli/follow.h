// Watches a job until it has ended, whatever happens to the connection meanwhile.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "cli/job_progress.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "proto/jobs.pb.h"

namespace potluck {

// Shows progress and returns the job's last status. Reconnects, saying so, while the coordinator is away for less than
// `patience` (then Unavailable). Returns the interrupt's reason when that is raised. Other errors are final: an unknown
// job, a revoked token. `waits_for_others`: the workers are for people to start, which is told once when none comes.
// `progress` makes the lines, and sees every status; null: MakeJobProgress(). Runs in the caller's thread.
absl::StatusOr<v1::JobStatus> Follow(Client& client, uint64_t job, absl::Duration patience, Interrupt& interrupt,
                                     ProgressDisplay& display, bool waits_for_others,
                                     std::unique_ptr<JobProgress> progress = nullptr);

bool HasEnded(const v1::JobStatus& status);

// Ok for a job that is done; else why it is not.
absl::Status Outcome(const v1::JobStatus& status);

}  // namespace potluck
