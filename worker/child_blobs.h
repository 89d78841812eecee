// The executor's end of getting blobs: asks the worker for them by frames and waits for its answers.
//
// Thread-safe: runners fetch from any thread, the reading thread delivers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "kernels/workload/runner.h"
#include "worker/frames.h"

namespace potluck {

class ChildBlobs final : public BlobSource {
 public:
  explicit ChildBlobs(std::function<void(const Frame&)> send) : send_(std::move(send)) {}

  // ---- For runners, during a run
  Result<std::string> Fetch(const std::string& digest) override ABSL_LOCKS_EXCLUDED(mutex_);
  void Prefetch(std::span<const std::string> digests) override ABSL_LOCKS_EXCLUDED(mutex_);
  std::string DigestOf(std::string_view bytes) const override;

  // ---- For the conversation
  void RunStarts(LeaseId lease) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whoever waits is told that nothing will come. Also at a cancel.
  void RunEnds() ABSL_LOCKS_EXCLUDED(mutex_);
  // A kBlob.
  void Deliver(const Frame& blob) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Wanted {
    int waiters = 0;
    std::optional<Result<std::string>> answer;
  };

  const std::function<void(const Frame&)> send_;
  Mutex mutex_;
  CondVar changed_;
  std::optional<LeaseId> lease_ ABSL_GUARDED_BY(mutex_);  // Of the run; none between runs and once it is cancelled.
  std::map<std::string, Wanted> wanted_ ABSL_GUARDED_BY(mutex_);  // By digest.
};

}  // namespace potluck
