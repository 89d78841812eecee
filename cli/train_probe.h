// Measures what a plan needs to know: short jobs by both methods on the workers at the table.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "cli/train_plan.h"
#include "kernels/cnn/data/data_set.h"

namespace potluck {

// How long each of the two jobs is watched, once it is under way.
inline constexpr absl::Duration kProbeTime = absl::Seconds(8);

// Submits a job: its data are put before.
using SubmitProbe =
    std::function<absl::StatusOr<uint64_t>(const cnn::Spec& spec, const std::vector<std::string>& blobs)>;

// `synchronous` and `local` say what is to be planned; the measurement takes a few of the samples of `data`. The jobs
// are cancelled and deleted afterwards, by `remover`, which is not interrupted. FailedPrecondition if no worker comes.
absl::StatusOr<PlanInput> MeasureForPlan(const cnn::Spec& synchronous, const cnn::Spec& local,
                                         const cnn::DataPair& data, Client& client, Client& remover,
                                         const SubmitProbe& submit, Interrupt& interrupt, ProgressDisplay& display);

}  // namespace potluck
