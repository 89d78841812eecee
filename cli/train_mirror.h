// Keeps a training's mirror up to date while it runs: fetches each newly saved state and writes it down, on a thread of
// its own, so that a slow folder never holds the training up. Of states that come faster than they can be written only
// the newest counts. A folder that is full or gone is told once, and tried again with the next state.
//
// Thread-safe. The destructor waits for what is being written, not for what has not begun.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "cli/job_progress.h"
#include "cli/mirror_folder.h"
#include "proto/jobs.pb.h"

namespace potluck {

struct TrainMirrorOptions {
  // A saved state of the job, by its digest; called on the mirror's thread.
  std::function<absl::StatusOr<std::string>(uint64_t job, const std::string& digest)> fetch;
  std::function<void()> cancel;  // Ends a fetch soon; called once.
  std::function<void(const std::string&)> say;
};

class TrainMirror {
 public:
  TrainMirror(MirrorFolder folder, TrainMirrorOptions options);
  ~TrainMirror();
  TrainMirror(const TrainMirror&) = delete;
  TrainMirror& operator=(const TrainMirror&) = delete;

  // Does not block: the job's newest saved state is taken up if it is another one than the last.
  void Offer(const v1::JobStatus& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // The job has ended, with this state, and has left these files: writes both. Says nothing; nothing more is taken up.
  absl::Status Finish(const v1::JobStatus& status, absl::string_view state, const std::vector<std::string>& files)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void WriteAll() ABSL_LOCKS_EXCLUDED(mutex_);
  void Tell(const absl::Status& status);
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  MirrorFolder folder_;  // The thread's; after Stop the caller's.
  const TrainMirrorOptions options_;
  bool is_failing_ = false;  // The thread's: that was said.
  std::string mirrored_;     // The thread's: digest of the last state written.
  Mutex mutex_;
  CondVar changed_;
  bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::string offered_ ABSL_GUARDED_BY(mutex_);  // Digest of the newest.
  std::optional<v1::JobStatus> next_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// The same progress, every status of which is offered to the mirror; null: none.
std::unique_ptr<JobProgress> WithMirror(std::unique_ptr<JobProgress> progress, TrainMirror* mirror);

}  // namespace potluck
