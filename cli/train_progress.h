// How far a training job is: epoch, loss, accuracy, images a second of each worker, bytes, and when it will be done.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/job_progress.h"
#include "cli/progress.h"
#include "cli/progress_display.h"
#include "kernels/cnn/payload.h"

namespace potluck {

class TrainProgress final : public JobProgress {
 public:
  void Add(const v1::JobStatus& status, absl::Duration at) override;
  std::string Line(size_t width) const override;

  struct Rates {
    double images_per_second = 0;
    std::vector<std::pair<std::string, double>> by_worker;  // Images a second, greatest first.
    double bytes_up = 0, bytes_down = 0;                    // A second.
  };
  // Over the last ten seconds or so.
  Rates CurrentRates() const;

 private:
  struct Seen {
    absl::Duration at;
    uint64_t samples = 0;
    std::map<std::string, double> images;  // By worker.
    uint64_t up = 0, down = 0;
  };
  std::deque<Seen> history_;
  Progress progress_;
  cnn::Summary summary_;
  uint32_t epochs_ = 0;  // Planned.
  uint32_t workers_ = 0;
  bool paused_ = false;
};

// The same progress; and once a sentence if a worker trains by the portable kernels, which are slow.
std::unique_ptr<JobProgress> WithPortableNote(std::unique_ptr<JobProgress> progress, ProgressDisplay& display);

}  // namespace potluck
