#include "cli/train_mirror.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cnn/payload.h"

namespace potluck {
namespace {

absl::StatusOr<MirroredState> About(const v1::JobStatus& status, uint64_t size) {
  Result<cnn::Spec> spec = cnn::DecodeSpec(status.spec());
  if (!spec.ok()) return absl::InternalError(spec.status().message());
  MirroredState state;
  state.job_name = status.name();
  state.round = status.saved_round();
  state.digest = status.saved_state();
  state.size = size;
  state.spec = *std::move(spec);
  return state;
}

class MirroredProgress final : public JobProgress {
 public:
  MirroredProgress(std::unique_ptr<JobProgress> progress, TrainMirror& mirror)
      : progress_(std::move(progress)), mirror_(mirror) {}
  void Add(const v1::JobStatus& status, absl::Duration at) override {
    mirror_.Offer(status);
    progress_->Add(status, at);
  }
  std::string Line(size_t width) const override { return progress_->Line(width); }

 private:
  const std::unique_ptr<JobProgress> progress_;
  TrainMirror& mirror_;
};

}  // namespace

TrainMirror::TrainMirror(MirrorFolder folder, TrainMirrorOptions options)
    : folder_(std::move(folder)), options_(std::move(options)), thread_([this] { WriteAll(); }) {}

TrainMirror::~TrainMirror() { Stop(); }

void TrainMirror::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mutex_);
    is_ending_ = true;
    changed_.SignalAll();
  }
  options_.cancel();
  thread_.join();
}

void TrainMirror::Offer(const v1::JobStatus& status) {
  MutexLock lock(&mutex_);
  if (is_ending_ || status.saved_state().empty() || status.saved_state() == offered_) return;
  offered_ = status.saved_state();
  next_ = status;
  changed_.SignalAll();
}

void TrainMirror::WriteAll() {
  while (true) {
    v1::JobStatus status;
    {
      MutexLock lock(&mutex_);
      while (!is_ending_ && !next_) changed_.Wait(&mutex_);
      if (is_ending_) return;
      status = *std::move(next_);
      next_.reset();
    }
    const absl::StatusOr<std::string> bytes = options_.fetch(status.job(), status.saved_state());
    if (!bytes.ok()) {  // A newer one has taken its place, or the coordinator is away: it will be offered again.
      MutexLock lock(&mutex_);
      if (!next_) offered_.clear();
      continue;
    }
    absl::StatusOr<MirroredState> about = About(status, bytes->size());
    Tell(about.ok() ? folder_.Add(*about, *bytes) : about.status());
    mirrored_ = status.saved_state();
  }
}

void TrainMirror::Tell(const absl::Status& status) {
  if (status.ok() && is_failing_) options_.say(absl::StrCat("the mirror ", folder_.path(), " is written again"));
  if (!status.ok() && !is_failing_) {
    options_.say(absl::StrCat("the mirror ", folder_.path(), " lacks the last state: ", std::string(status.message()),
                              "; training goes on, and the next state is tried again"));
  }
  is_failing_ = !status.ok();
}

absl::Status TrainMirror::Finish(const v1::JobStatus& status, absl::string_view state,
                                 const std::vector<std::string>& files) {
  Stop();
  for (const std::string& file : files) {
    if (absl::Status copied = folder_.Copy(file); !copied.ok()) return copied;
  }
  if (mirrored_ == status.saved_state() && !is_failing_) return absl::OkStatus();
  absl::StatusOr<MirroredState> about = About(status, state.size());
  return about.ok() ? folder_.Add(*std::move(about), state) : about.status();
}

std::unique_ptr<JobProgress> WithMirror(std::unique_ptr<JobProgress> progress, TrainMirror* mirror) {
  if (mirror == nullptr) return progress;
  return std::make_unique<MirroredProgress>(std::move(progress), *mirror);
}

}  // namespace potluck
