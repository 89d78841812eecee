// What the planners of all N-Queens algorithms share: one ledger round whose partial results are Counts, added up.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/nqueens/payload.h"
#include "kernels/workload/planner.h"

namespace potluck::nqueens {

// Not thread-safe, as Planner says. State() is empty before the round is opened and "0" from then on; Summary() is an
// NQueensCounts message.
class CountsPlanner : public Planner {
 public:
  Result<std::optional<Round>> NextRound(double job_seconds) final;
  Status Check(Interval interval, std::string_view payload) const final;
  Status Merge(Interval interval, std::string payload) final;
  Result<std::string> Combine(std::span<const Part> parts) const final;
  void ResetRound() final;
  std::vector<SharedBytes> State() const final { return {SharedBytes(plan_ ? "0" : "")}; }
  Status Restore(std::string_view state) final;
  std::string Summary() const final { return Encode(merged_); }

 protected:
  explicit CountsPlanner(const Spec& spec) : spec_(spec) {}

  const Spec& spec() const { return spec_; }
  bool is_open() const { return plan_ != nullptr; }
  // "The result of subproblems [3, 7) has `field` `value`; allowed: `allowed`."
  static Status Refusal(Interval interval, const char* field, Count128 value, const std::string& allowed);

 private:
  // Called when the round is opened.
  virtual Result<std::shared_ptr<const RoundPlan>> MakePlan() = 0;
  // What belongs to no index of the open round.
  virtual Counts Outside() const { return {}; }
  // Whether these can be the counts of a not empty interval inside the open round.
  virtual Status CheckCounts(Interval interval, const Counts& counts) const = 0;

  Spec spec_;
  std::shared_ptr<const RoundPlan> plan_;
  Counts merged_;
  uint64_t merged_indices_ = 0;
};

}  // namespace potluck::nqueens
