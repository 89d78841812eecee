// Adds a certificate's slices up again, by the workload's own planner: each must be possible, each must begin where the
// one before ended, and the sum is made in 128 bits. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/certificate.h"
#include "kernels/workload/planner.h"

namespace potluck {

class CertificateLedger {
 public:
  // InvalidArgument if this build does not count so, or splits such a job into another number of subproblems (0:
  // whatever it is).
  static absl::StatusOr<std::unique_ptr<CertificateLedger>> Open(const nqueens::Spec& spec, uint64_t index_space);

  // InvalidArgument names the first gap, the overlap, or what is impossible about it.
  absl::Status Add(const CertificateSlice& slice);
  // InvalidArgument if the slices end before the last subproblem.
  absl::Status CheckCover() const;

  // With the depth that the planner chose if `spec` left that to it.
  const nqueens::Spec& spec() const { return spec_; }
  uint64_t index_space() const { return plan_->Size(); }
  uint64_t slices() const { return slices_; }
  // What was added so far, and what lies above the subproblems.
  absl::StatusOr<nqueens::Counts> Sum() const;

  // What a runner needs to recompute slices.
  const std::string& round_payload() const { return round_payload_; }

 private:
  CertificateLedger() = default;

  std::unique_ptr<Planner> planner_;
  std::shared_ptr<const RoundPlan> plan_;
  std::string round_payload_;
  nqueens::Spec spec_;
  uint64_t position_ = 0;
  uint64_t slices_ = 0;
};

}  // namespace potluck
