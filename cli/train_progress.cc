#include "cli/train_progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"
#include "cli/progress_display.h"

namespace potluck {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(10);
constexpr size_t kMostNamedWorkers = 4;

std::string Bytes(double bytes) { return absl::StrCat(Metric(bytes), "B"); }

class PortableNote final : public JobProgress {
 public:
  PortableNote(std::unique_ptr<JobProgress> progress, ProgressDisplay& display)
      : display_(display), progress_(std::move(progress)) {}

  void Add(const v1::JobStatus& status, absl::Duration at) override {
    progress_->Add(status, at);
    for (const v1::Contribution& one : status.contributions()) {
      if (is_said_ || !absl::StrContains(one.devices(), "+reference")) continue;
      is_said_ = true;
      display_.Say(
          absl::StrCat("worker ", one.worker(), " trains by the portable kernels, which are slow: oneDNN's ",
                       "plug-in (libpotluck_onednn.so) does not lie beside its program, or cannot be used there"));
    }
  }
  std::string Line(size_t width) const override { return progress_->Line(width); }

 private:
  ProgressDisplay& display_;
  const std::unique_ptr<JobProgress> progress_;
  bool is_said_ = false;
};

}  // namespace

void TrainProgress::Add(const v1::JobStatus& status, absl::Duration at) {
  workers_ = status.workers();
  paused_ = status.state() == v1::JobStatus::PAUSED;
  if (const auto summary = cnn::DecodeSummary(status.summary()); summary.ok()) summary_ = *summary;
  if (epochs_ == 0) {
    if (const auto spec = cnn::DecodeSpec(status.spec()); spec.ok()) epochs_ = spec->epochs;
  }
  Seen seen;
  seen.at = at;
  seen.samples = summary_.samples_seen;
  for (const v1::Contribution& contribution : status.contributions()) {
    seen.images[Printable(contribution.worker())] = contribution.cost();
    seen.up += contribution.bytes_sent();
    seen.down += contribution.bytes_received();
  }
  // After a coordinator's restart everything is counted from the saved state on.
  const auto is_less = [](const Seen& now, const Seen& before) {
    return now.samples < before.samples || now.up < before.up || now.down < before.down;
  };
  if (!history_.empty() && is_less(seen, history_.back())) history_.clear();
  history_.push_back(std::move(seen));
  while (history_.size() > 2 && at - history_.front().at > kRateWindow) history_.pop_front();
  progress_.Add({.at = at,
                 .done_cost = static_cast<double>(summary_.samples_seen),
                 .total_cost = static_cast<double>(summary_.total_samples)});
}

TrainProgress::Rates TrainProgress::CurrentRates() const {
  Rates rates;
  if (history_.size() < 2) return rates;
  const Seen& first = history_.front();
  const Seen& last = history_.back();
  const double seconds = absl::ToDoubleSeconds(last.at - first.at);
  if (!(seconds > 0)) return rates;
  rates.images_per_second = static_cast<double>(last.samples - first.samples) / seconds;
  for (const auto& [worker, images] : last.images) {
    const auto before = first.images.find(worker);
    const double done = images - (before == first.images.end() ? 0 : before->second);
    if (done > 0) rates.by_worker.emplace_back(worker, done / seconds);
  }
  std::stable_sort(rates.by_worker.begin(), rates.by_worker.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  rates.bytes_up = static_cast<double>(last.up - first.up) / seconds;
  rates.bytes_down = static_cast<double>(last.down - first.down) / seconds;
  return rates;
}

std::string TrainProgress::Line(size_t width) const {
  if (workers_ == 0 && summary_.samples_seen == 0 && !paused_) return "waiting for workers";
  std::string line = absl::StrCat("epoch ", std::min(summary_.epoch, std::max(epochs_, 1u)), "/", epochs_, ", step ",
                                  WithSeparators(absl::StrCat(summary_.step)), " of ",
                                  WithSeparators(absl::StrCat(summary_.total_steps)));
  if (paused_) return absl::StrCat(line, ", paused");
  const Rates rates = CurrentRates();
  const ProgressEstimate estimate = progress_.Estimate();
  std::vector<std::string> parts;
  if (summary_.step > 0) {
    parts.push_back(absl::StrFormat("loss %.4f", summary_.loss));
    parts.push_back(absl::StrCat("train ", Percent(summary_.accuracy)));
  }
  if (!summary_.epochs.empty()) parts.push_back(absl::StrCat("test ", Percent(summary_.epochs.back().test_accuracy)));
  if (estimate.left) parts.push_back(absl::StrCat("ETA ", EtaText(estimate)));
  if (summary_.is_evaluating) {
    parts.push_back("evaluating");
  } else if (rates.images_per_second > 0) {
    parts.push_back(absl::StrFormat("%.0f images/s", rates.images_per_second));
  }
  std::string workers;
  for (size_t i = 0; i < rates.by_worker.size() && rates.by_worker.size() <= kMostNamedWorkers; ++i) {
    absl::StrAppendFormat(&workers, "%s%s %.0f", i == 0 ? "" : ", ", rates.by_worker[i].first,
                          rates.by_worker[i].second);
  }
  parts.push_back(workers.empty() ? absl::StrCat(workers_, workers_ == 1 ? " worker" : " workers") : workers);
  if (rates.bytes_up + rates.bytes_down > 0) {
    parts.push_back(absl::StrCat("up ", Bytes(rates.bytes_up), "/s, down ", Bytes(rates.bytes_down), "/s"));
  }
  for (const std::string& part : parts) {
    if (line.size() + 2 + part.size() > width) break;
    absl::StrAppend(&line, ", ", part);
  }
  return line;
}

std::unique_ptr<JobProgress> WithPortableNote(std::unique_ptr<JobProgress> progress, ProgressDisplay& display) {
  return std::make_unique<PortableNote>(std::move(progress), display);
}

}  // namespace potluck
