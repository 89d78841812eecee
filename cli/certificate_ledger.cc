#include "cli/certificate_ledger.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/workload/registry.h"

namespace potluck {
namespace {

absl::Status Wrong(const Status& status) { return absl::InvalidArgumentError(status.message()); }

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateLedger>> CertificateLedger::Open(const nqueens::Spec& spec,
                                                                           uint64_t index_space) {
  std::unique_ptr<CertificateLedger> ledger(new CertificateLedger());
  Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(spec));
  if (!planner.ok()) return Wrong(planner.status());
  ledger->planner_ = std::move(planner).value();
  Result<std::optional<Round>> round = ledger->planner_->NextRound(0);
  if (!round.ok()) return Wrong(round.status());
  if (!round->has_value()) return absl::InvalidArgumentError("the specification leaves nothing to compute");
  ledger->plan_ = (*round)->plan;
  ledger->round_payload_ = (*round)->payload;
  const Result<nqueens::Spec> chosen = nqueens::DecodeSpec(ledger->round_payload_);
  if (!chosen.ok()) return Wrong(chosen.status());
  ledger->spec_ = *chosen;
  if (index_space != 0 && index_space != ledger->plan_->Size()) {
    return absl::InvalidArgumentError(absl::StrCat("index_space is ", index_space, "; allowed is ",
                                                   ledger->plan_->Size(),
                                                   ", which is how many subproblems such a job has"));
  }
  return ledger;
}

absl::Status CertificateLedger::Add(const CertificateSlice& slice) {
  const Interval interval = slice.interval;
  if (interval.begin > position_) {
    return absl::InvalidArgumentError(absl::StrCat("subproblems ", ToString(Interval{position_, interval.begin}),
                                                   " are in no slice: the next one is ", ToString(interval)));
  }
  if (interval.begin < position_) {
    return absl::InvalidArgumentError(
        absl::StrCat("slice ", ToString(interval), " overlaps those before, which end at ", position_));
  }
  if (interval.end > index_space()) {
    return absl::InvalidArgumentError(
        absl::StrCat("slice ", ToString(interval), " ends beyond the ", index_space(), " subproblems of the job"));
  }
  if (Status merged = planner_->Merge(interval, Encode(slice.counts)); !merged.ok()) return Wrong(merged);
  position_ = interval.end;
  ++slices_;
  return absl::OkStatus();
}

absl::Status CertificateLedger::CheckCover() const {
  if (position_ == index_space()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("subproblems ", ToString(Interval{position_, index_space()}), " are in no slice"));
}

absl::StatusOr<nqueens::Counts> CertificateLedger::Sum() const {
  const Result<nqueens::Counts> sum = nqueens::DecodeCounts(planner_->Summary());
  if (!sum.ok()) return Wrong(sum.status());
  return *sum;
}

}  // namespace potluck
