// Which samples are trained on when, by whom: the course of a job and the shapes of its rounds. Coordinator and workers
// derive both from the specification. Pure functions and immutable classes, thread-safe.
//
// Samples have *positions* over the whole run: position p is sample p % n of epoch p / n, in that epoch's order. An
// epoch's positions are cut into batches, the last of which may be smaller. Synchronous: a round is one batch. Local
// steps: a round is up to replicas x inner_steps batches of one epoch, dealt to the replicas in turn, so that the last,
// shorter round of an epoch is shared evenly too; when there are fewer batches than replicas there are fewer replicas.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cnn/payload.h"
#include "kernels/workload/planner.h"

namespace potluck::cnn {

// Test samples that are evaluated together: the index of an evaluation round.
inline constexpr uint32_t kEvaluationShard = 256;

// What one training round takes.
struct RoundShape {
  uint64_t samples = 0;
  uint32_t batch = 0;
  uint64_t batches = 0;
  uint64_t replicas = 0;  // At most `batches`; synchronous: 1.
  uint64_t steps = 0;     // Of the replica that has most.

  // Of one replica.
  uint64_t StepsOf(uint64_t replica) const { return (batches - replica + replicas - 1) / replicas; }
  uint64_t SamplesOf(uint64_t replica) const;
  // The samples of its inner step, counted from the round's first.
  Interval BatchOf(uint64_t replica, uint64_t step) const;
};

// The shape of a round of `samples` samples.
RoundShape ShapeOf(const Spec& spec, uint64_t samples);

class Course {
 public:
  explicit Course(const Spec& spec);

  uint64_t batches_an_epoch() const { return batches_; }
  uint64_t steps_an_epoch() const { return steps_; }
  // Planned: all epochs, or as many as max_steps lets begin.
  uint64_t total_steps() const { return total_steps_; }
  uint64_t total_samples() const { return total_samples_; }
  // The next round of an epoch of which so many batches are done, in a job that has done so many steps: fewer than
  // total_steps().
  RoundShape Next(uint64_t batches_done, uint64_t steps_done) const;
  // Of a step, from 0.
  double LearningRate(uint64_t step) const;

 private:
  Spec spec_;
  uint64_t batches_ = 0, steps_ = 0, total_steps_ = 0, total_samples_ = 0;
};

// Cost is in samples to train on; evaluating one costs what its share of the operations is.
std::shared_ptr<const RoundPlan> MakeGradientPlan(const Spec& spec, const Model& model, uint64_t samples);
std::shared_ptr<const RoundPlan> MakeLocalPlan(const Spec& spec, const Model& model, uint64_t samples);
std::shared_ptr<const RoundPlan> MakeEvaluationPlan(const Spec& spec, const Model& model);

// The samples of an interval of micro-shards of so many samples each.
inline uint64_t SamplesIn(Interval shards, uint32_t shard, uint64_t samples) {
  return std::min(shards.end * shard, samples) - std::min(shards.begin * shard, samples);
}
inline uint64_t ShardsOf(uint64_t samples, uint32_t shard) { return (samples + shard - 1) / shard; }

}  // namespace potluck::cnn
