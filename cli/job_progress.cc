#include "cli/job_progress.h"

#include "cli/progress.h"
#include "cli/progress_display.h"
#include "cli/train_progress.h"
#include "kernels/nqueens/payload.h"

namespace potluck {
namespace {

// A job of one round: its cost tells how far it is.
class RoundProgress final : public JobProgress {
 public:
  void Add(const v1::JobStatus& status, absl::Duration at) override {
    ProgressSample sample{
        .at = at, .done_cost = status.committed_cost(), .total_cost = status.cost(), .rate_hint = status.rate()};
    if (status.workload() == "nqueens") {
      if (const auto counts = nqueens::DecodeCounts(status.summary()); counts.ok()) {
        sample.nodes = counts->visited.ToDouble();
        sample.solutions = counts->solutions.ToDouble();
      }
    }
    progress_.Add(sample);
    workers_ = status.workers();
    paused_ = status.state() == v1::JobStatus::PAUSED;
  }
  std::string Line(size_t width) const override { return ProgressLine(progress_.Estimate(), workers_, paused_, width); }

 private:
  Progress progress_;
  uint32_t workers_ = 0;
  bool paused_ = false;
};

class ProgressByWorkload final : public JobProgress {
 public:
  void Add(const v1::JobStatus& status, absl::Duration at) override {
    if (progress_ == nullptr) {
      if (status.workload() == "cnn") {
        progress_ = std::make_unique<TrainProgress>();
      } else {
        progress_ = std::make_unique<RoundProgress>();
      }
    }
    progress_->Add(status, at);
  }
  std::string Line(size_t width) const override { return progress_ == nullptr ? "" : progress_->Line(width); }

 private:
  std::unique_ptr<JobProgress> progress_;
};

}  // namespace

std::unique_ptr<JobProgress> MakeJobProgress() { return std::make_unique<ProgressByWorkload>(); }

}  // namespace potluck
