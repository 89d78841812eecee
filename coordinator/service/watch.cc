#include "coordinator/service/watch.h"

#include "absl/strings/str_cat.h"
#include "coordinator/service/convert.h"

namespace potluck {

WatchReactor::WatchReactor(JobService& service, JobId job, absl::Duration interval)
    : service_(service), job_(job), interval_(interval) {
  service_.AddWatch(this, job_);
  MutexLock lock(&mutex_);
  Look();
}

WatchReactor::WatchReactor(JobService& service, const grpc::Status& status)
    : service_(service), interval_(absl::InfiniteDuration()) {
  MutexLock lock(&mutex_);
  End(status);
}

void WatchReactor::Look() {
  if (finished_) return;
  if (writing_) {
    look_again_ = true;
    return;
  }
  const std::optional<JobView> view =
      service_.driver_.Read([this](const Core& core, Instant) { return core.Find(job_); });
  if (!view) return End(grpc::Status(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no job ", ToString(job_))));
  status_ = ToWire(*view);
  const bool has_ended = view->state != JobState::kRunning && view->state != JobState::kPaused;
  writing_ = true;
  if (has_ended) {
    finished_ = true;
    StartWriteAndFinish(&status_, grpc::WriteOptions(), grpc::Status::OK);
  } else {
    StartWrite(&status_);
    SetAlarm();
  }
}

void WatchReactor::End(const grpc::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(status);
}

void WatchReactor::SetAlarm() {
  if (alarm_is_set_) return;
  alarm_is_set_ = true;
  alarm_.emplace();
  alarm_->Set(absl::ToChronoTime(absl::Now() + interval_), [this](bool) { OnAlarm(); });
}

// Whoever of OnAlarm and OnDone comes last deletes; which of them that is, is decided under the lock.
void WatchReactor::OnAlarm() {
  bool is_last = false;
  {
    MutexLock lock(&mutex_);
    alarm_is_set_ = false;
    is_last = done_;
    if (!is_last) Look();
  }
  if (is_last) delete this;
}

void WatchReactor::Wake(bool is_over) {
  MutexLock lock(&mutex_);
  if (is_over) {
    End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator is stopping"));
    if (alarm_is_set_) alarm_->Cancel();
  } else {
    Look();
  }
}

void WatchReactor::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) return End(grpc::Status::CANCELLED);
  if (look_again_) {
    look_again_ = false;
    Look();
  }
}

void WatchReactor::OnCancel() {
  MutexLock lock(&mutex_);
  End(grpc::Status::CANCELLED);
  if (alarm_is_set_) alarm_->Cancel();
}

void WatchReactor::OnDone() {
  service_.RemoveWatch(this, job_);
  bool is_last = false;
  {
    MutexLock lock(&mutex_);
    done_ = true;
    if (alarm_is_set_) alarm_->Cancel();
    is_last = !alarm_is_set_;
  }
  if (is_last) delete this;
}

}  // namespace potluck
