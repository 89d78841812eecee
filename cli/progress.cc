#include "cli/progress.h"

#include <algorithm>
#include <cstddef>

namespace potluck {
namespace {

constexpr absl::Duration kWindow = absl::Minutes(1);
constexpr absl::Duration kSpacing = absl::Seconds(1);
// Shorter than this, a rate says more about when slices arrive than about speed.
constexpr absl::Duration kShortestHistory = absl::Seconds(2);
constexpr absl::Duration kStretch = absl::Seconds(6);
constexpr size_t kFewestStretches = 4;
constexpr double kWide = 2;

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

double Quantile(const std::vector<double>& ascending, double q) {
  return ascending[static_cast<size_t>(q * static_cast<double>(ascending.size() - 1) + 0.5)];
}

}  // namespace

void Progress::Add(const ProgressSample& sample) {
  // Less than before: slices were retracted, or another round began. What was seen until then predicts nothing.
  if (!history_.empty() && (sample.done_cost < history_.back().done_cost || sample.nodes < history_.back().nodes ||
                            sample.at < history_.back().at)) {
    history_.clear();
  }
  const size_t size = history_.size();
  if (size >= 2 && history_[size - 1].at - history_[size - 2].at < kSpacing) history_.pop_back();
  history_.push_back(sample);
  while (history_.size() > 2 && sample.at - history_.front().at > kWindow) history_.pop_front();
}

std::vector<double> Progress::StretchRates() const {
  std::vector<double> rates;
  size_t end = 0;
  for (size_t begin = 0; begin < history_.size(); ++begin) {
    while (end < history_.size() && history_[end].at - history_[begin].at < kStretch) ++end;
    if (end == history_.size()) break;
    rates.push_back((history_[end].done_cost - history_[begin].done_cost) /
                    Seconds(history_[end].at - history_[begin].at));
  }
  std::sort(rates.begin(), rates.end());
  return rates;
}

ProgressEstimate Progress::Estimate() const {
  ProgressEstimate estimate;
  if (history_.empty()) return estimate;
  const ProgressSample& first = history_.front();
  const ProgressSample& last = history_.back();
  if (last.total_cost > 0) estimate.fraction = std::clamp(last.done_cost / last.total_cost, 0.0, 1.0);
  const double left = std::max(0.0, last.total_cost - last.done_cost);

  double rate = last.rate_hint;
  if (last.at - first.at >= kShortestHistory) {
    const double seconds = Seconds(last.at - first.at);
    estimate.nodes_per_second = (last.nodes - first.nodes) / seconds;
    estimate.solutions_per_second = (last.solutions - first.solutions) / seconds;
    const double mean = (last.done_cost - first.done_cost) / seconds;
    if (mean > 0) rate = mean;
  }
  if (!(rate > 0) || last.at - first.at < kShortestHistory) return estimate;
  estimate.left = absl::Seconds(left / rate);
  const std::vector<double> rates = StretchRates();
  if (rates.size() < kFewestStretches) {
    estimate.left_low = *estimate.left / kWide;
    estimate.left_high = *estimate.left * kWide;
    return estimate;
  }
  if (!(Quantile(rates, 0.1) > 0)) return estimate;
  // The mean may lie outside when one stretch was far off.
  estimate.left_low = absl::Seconds(left / std::max(rate, Quantile(rates, 0.9)));
  estimate.left_high = absl::Seconds(left / std::min(rate, Quantile(rates, 0.1)));
  return estimate;
}

}  // namespace potluck
