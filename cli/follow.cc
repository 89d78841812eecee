#include "cli/follow.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(200);
// What a job waits for is told when it has lasted so long.
constexpr absl::Duration kWaitingDelay = absl::Seconds(2);
// A job that was just submitted has not been handed out yet.
constexpr absl::Duration kHintDelay = absl::Seconds(2);
constexpr absl::Duration kLongestPause = absl::Seconds(5);

// Whether another try may go better. What a proxy or a dying coordinator leaves behind has many names.
bool IsPassing(const absl::Status& status) {
  return status.ok() || absl::IsUnavailable(status) || absl::IsUnknown(status) || absl::IsInternal(status) ||
         absl::IsAborted(status) || absl::IsResourceExhausted(status);
}

}  // namespace

bool HasEnded(const v1::JobStatus& status) {
  return status.state() == v1::JobStatus::DONE || status.state() == v1::JobStatus::CANCELLED ||
         status.state() == v1::JobStatus::FAILED;
}

absl::Status Outcome(const v1::JobStatus& status) {
  switch (status.state()) {
    case v1::JobStatus::DONE:
      return absl::OkStatus();
    case v1::JobStatus::CANCELLED:
      return absl::AbortedError(absl::StrCat("job ", status.job(), " was cancelled"));
    case v1::JobStatus::FAILED:
      return absl::InternalError(absl::StrCat("job ", status.job(), " failed: ", status.message()));
    default:
      return absl::FailedPreconditionError(absl::StrCat("job ", status.job(), " has not ended yet"));
  }
}

absl::StatusOr<v1::JobStatus> Follow(Client& client, uint64_t job, absl::Duration patience, Interrupt& interrupt,
                                     ProgressDisplay& display, bool waits_for_others,
                                     std::unique_ptr<JobProgress> progress) {
  std::minstd_rand random(std::random_device{}());
  v1::JobStatus last;
  if (progress == nullptr) progress = MakeJobProgress();
  absl::Time heard = AwakeNow();
  absl::Duration pause = kFirstPause;
  bool away = false;
  bool connected = false;
  const absl::Time begun = AwakeNow();
  bool hint_due = waits_for_others;
  std::string message, waiting_for;
  absl::Time waiting_since;
  bool is_waiting_told = true;
  const auto visit = [&](const v1::JobStatus& status) {
    if (away) display.Say("the coordinator is back");
    away = false;
    connected = true;
    pause = kFirstPause;
    last = status;
    progress->Add(status, AwakeNow() - absl::UnixEpoch());
    const bool paused = status.state() == v1::JobStatus::PAUSED;
    const bool without_workers = status.workers() == 0 && !(status.committed_cost() > 0) && !paused;
    hint_due &= without_workers;
    if (hint_due && AwakeNow() - begun > kHintDelay) {
      display.Say(
          "no worker yet: run `potluck join ...` with the coordinator's worker.join on every machine that shall "
          "compute");
      hint_due = false;
    }
    if (status.message() != message && !status.message().empty() && !HasEnded(status)) display.Say(status.message());
    message = status.message();
    if (status.waiting_for() != waiting_for) {
      waiting_for = status.waiting_for();
      waiting_since = AwakeNow();
      is_waiting_told = waiting_for.empty();
    } else if (!is_waiting_told && AwakeNow() - waiting_since > kWaitingDelay) {
      display.Say(waiting_for);
      is_waiting_told = true;
    }
    display.Show(progress->Line(display.width()));
  };
  while (true) {
    connected = false;
    const absl::Status status = client.Watch(job, visit);
    if (connected) heard = AwakeNow();
    if (HasEnded(last)) {
      display.Clear();
      return last;
    }
    if (absl::Status reason = interrupt.reason(); !reason.ok()) return reason;
    if (!IsPassing(status)) return status;
    const absl::Duration silent = AwakeNow() - heard;
    if (silent > patience) {
      return absl::UnavailableError(absl::StrCat("gave up on job ", job, " after ", TimeText(silent),
                                                 " without the coordinator: ", std::string(status.message())));
    }
    if (!away && !status.ok()) {
      display.Say(absl::StrCat(std::string(absl::StripSuffix(status.message(), ".")), "; trying again for up to ",
                               TimeText(patience)));
      away = true;
    }
    // Spread, so that a thousand clients do not come back at the same moment.
    if (interrupt.WaitFor(pause * std::uniform_real_distribution<double>(0.5, 1.0)(random))) return interrupt.reason();
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace potluck
