// One `Watch`: the job's status now and then, and the last one at once when it has ended. Belongs to gRPC.
#pragma once

#include <grpcpp/alarm.h>

#include <optional>

#include "base/mutex.h"
#include "coordinator/service/job_service.h"

namespace potluck {

class WatchReactor final : public grpc::ServerWriteReactor<v1::JobStatus> {
 public:
  WatchReactor(JobService& service, JobId job, absl::Duration interval);
  // Finishes at once: not allowed.
  WatchReactor(JobService& service, const grpc::Status& status);

  // Looks at the job now. `is_over`: the coordinator is stopping.
  void Wake(bool is_over) ABSL_LOCKS_EXCLUDED(mutex_);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetAlarm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAlarm() ABSL_LOCKS_EXCLUDED(mutex_);

  JobService& service_;
  const JobId job_{};
  const absl::Duration interval_;

  Mutex mutex_;
  v1::JobStatus status_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool look_again_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool alarm_is_set_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
