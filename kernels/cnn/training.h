// A training job as the coordinator sees it: which round comes next, what its results must look like, and what its sum
// does to the model. planner.cc puts it behind the interface of every workload. Not thread-safe.
//
// Rounds: synchronous, one a batch (a gradient's sums); local steps, one an outer step (replicas' pseudo-gradients);
// after each epoch, and at the end, one over the test set. All are volatile: between two of them the state is whole.
//
// Divergence. Where a loss or a gradient is not finite, an honest worker reports a mark instead (results.h). A round
// with a mark is computed once more, as a device may have erred; if the mark comes back, or if finite sums make
// parameters that are not finite, the job cannot go on: the sentence names the step and the last loss. The state saved
// before stays the last one. So does a job end whose smoothed loss has risen to many times that of guessing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cnn/dyadic.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/payload.h"
#include "kernels/cnn/plan.h"
#include "kernels/cnn/state.h"
#include "kernels/cnn/weights.h"
#include "kernels/workload/planner.h"

namespace potluck::cnn {

class Training {
 public:
  // `spec_bytes` is `spec` encoded; `model` its network.
  Training(std::string spec_bytes, Spec spec, Model model);

  bool has_begun() const { return weights_ != nullptr; }
  // From initial parameters or a saved state, of this job or of one to go on from, or from those drawn from the seed.
  Status Begin(const BlobReader& blobs);
  Status Restore(std::string_view state);
  std::vector<SharedBytes> State();

  // The next round; nullopt when there is none. Fails if the open round is not complete, or if training diverged.
  Result<std::optional<Round>> Next(double job_seconds);
  Status Check(Interval interval, std::string_view result) const;
  Status Merge(Interval interval, std::string result);
  Result<std::string> Combine(std::span<const Part> parts) const;
  void Reset();
  Summary Summarize() const;

 private:
  // A round that workers are at.
  struct Open {
    RoundKind kind{};
    RoundShape shape;  // Of a training round.
    std::shared_ptr<const RoundPlan> plan;
    uint64_t floats = 0;         // Of a sum.
    bool is_compressed = false;  // Results are codes, one replica each.
    bool is_settled = false;     // Its sum has gone into the model.
    DyadicSum sum{0, 0};
  };

  Status Adopt(cnn::State state);
  Tally Expected(Interval interval) const;
  uint64_t ResultBytes() const;
  Status CheckTally(Interval interval, const Tally& tally) const;

  Status Settle();
  Status SettleTraining(std::string total);
  void SettleEvaluation(const Tally& tally);
  Status Diverged(const std::string& what);
  void CountTraining(const Tally& tally);
  // What comes after a finished epoch, or one that was stopped.
  void AfterEvaluation();

  Round OpenTraining();
  Round OpenEvaluation();
  Round OpenRound(RoundPayload payload, std::shared_ptr<const RoundPlan> plan);
  // All steps are done. A job that goes on from another may have its epochs done in other steps.
  bool IsTrained() const { return progress_.step >= course_.total_steps() || progress_.epoch >= spec_.epochs; }
  double Seconds() const { return progress_.earlier_seconds + progress_.seconds; }

  const std::string spec_bytes_;
  const Spec spec_;
  const Model model_;
  const Course course_;
  std::unique_ptr<Weights> weights_;
  Progress progress_;
  std::optional<Open> open_;
  bool is_repeated_ = false;       // The open round is computed once more, as it had a diverged mark.
  std::optional<Status> failure_;  // Why the job cannot go on.
};

}  // namespace potluck::cnn
