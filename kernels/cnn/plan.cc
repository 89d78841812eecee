#include "kernels/cnn/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace potluck::cnn {
namespace {

// What a slow core does in a second.
constexpr double kSlowCoreFlops = 1e10;
// A unit's end may lie within these shares of the wanted cost, if that makes its blocks fewer: each block is a result
// as large as the model.
constexpr double kLeastShare = 0.75, kMostShare = 1.15;

// How well a unit may end at `end`.
int Alignment(uint64_t end, uint64_t size) { return end == size ? 64 : std::countr_zero(end); }

// The best aligned end with a cost of kLeastShare to kMostShare of what is wanted, the nearest of equal ones.
uint64_t AlignedEnd(Interval within, double wanted, uint64_t size) {
  const double begin = static_cast<double>(within.begin);
  const auto clamp = [&](double end) {
    return static_cast<uint64_t>(
        std::clamp(end, static_cast<double>(within.begin + 1), static_cast<double>(within.end)));
  };
  if (begin + wanted * kMostShare >= static_cast<double>(within.end)) return within.end;
  uint64_t best = clamp(begin + std::round(wanted));
  const uint64_t first = clamp(std::ceil(begin + wanted * kLeastShare)), last = clamp(begin + wanted * kMostShare);
  for (int bits = 62; bits > 0; --bits) {
    const uint64_t unit = uint64_t{1} << bits;
    if (Alignment(best, size) >= bits) return best;
    // The multiple of `unit` next to what is wanted.
    const uint64_t below = (best / unit) * unit, above = below + unit;
    const bool has_below = below >= first, has_above = above <= last;
    if (!has_below && !has_above) continue;
    if (has_below && (!has_above || best - below <= above - best)) return below;
    return above;
  }
  return best;
}

class ShardPlan final : public RoundPlan {
 public:
  struct Options {
    uint64_t samples = 0;
    uint32_t shard = 1;
    double cost = 1;  // Of a sample.
    double probe = 1;
    Sharing sharing = Sharing::kGuided;
  };
  explicit ShardPlan(const Options& options) : options_(options) {}

  uint64_t Size() const override { return ShardsOf(options_.samples, options_.shard); }
  double Cost(Interval interval) const override {
    return static_cast<double>(SamplesIn(interval, options_.shard, options_.samples)) * options_.cost;
  }
  uint64_t Cut(Interval within, double cost) const override {
    const double wanted = cost / (options_.cost * options_.shard);
    if (options_.sharing == Sharing::kEven) return AlignedEnd(within, wanted, Size());
    if (wanted >= static_cast<double>(within.size())) return within.end;
    return within.begin + std::max<uint64_t>(1, static_cast<uint64_t>(wanted));
  }
  double ProbeCost() const override { return options_.probe; }
  Sharing sharing() const override { return options_.sharing; }

 private:
  Options options_;
};

class ReplicaPlan final : public RoundPlan {
 public:
  ReplicaPlan(const RoundShape& shape, double probe, bool sums) : probe_(probe), sums_(sums), cost_(1, 0.0) {
    for (uint64_t replica = 0; replica < shape.replicas; ++replica) {
      cost_.push_back(cost_.back() + static_cast<double>(shape.SamplesOf(replica)));
    }
  }

  uint64_t Size() const override { return cost_.size() - 1; }
  double Cost(Interval interval) const override { return cost_[interval.end] - cost_[interval.begin]; }
  uint64_t Cut(Interval within, double cost) const override {
    const double wanted = cost / (cost_.back() / static_cast<double>(Size()));
    // Only sums profit from blocks: compressed, each replica is a result of its own.
    if (sums_) return AlignedEnd(within, wanted, Size());
    if (wanted >= static_cast<double>(within.size())) return within.end;
    return within.begin + std::max<uint64_t>(1, static_cast<uint64_t>(std::round(wanted)));
  }
  double ProbeCost() const override { return probe_; }
  Sharing sharing() const override { return Sharing::kEven; }

 private:
  double probe_;
  bool sums_;
  std::vector<double> cost_;  // Of the replicas before.
};

double ProbeSamples(const Model& model) {
  return std::max(1.0, kSlowCoreFlops / static_cast<double>(std::max<uint64_t>(1, model.training_flop)));
}

}  // namespace

uint64_t RoundShape::SamplesOf(uint64_t replica) const {
  const uint64_t full = StepsOf(replica) * batch;
  const bool has_last = (batches - 1) % replicas == replica;
  return has_last ? full - (batches * batch - samples) : full;
}

Interval RoundShape::BatchOf(uint64_t replica, uint64_t step) const {
  const uint64_t begin = (step * replicas + replica) * batch;
  return {begin, std::min(begin + batch, samples)};
}

RoundShape ShapeOf(const Spec& spec, uint64_t samples) {
  RoundShape shape{.samples = samples, .batch = spec.batch, .batches = (samples + spec.batch - 1) / spec.batch};
  shape.replicas = std::min<uint64_t>(std::max(1u, spec.local.replicas), shape.batches);
  shape.steps = shape.replicas == 0 ? 0 : shape.StepsOf(0);
  return shape;
}

Course::Course(const Spec& spec) : spec_(spec) {
  const uint64_t samples = spec_.train.samples;
  batches_ = (samples + spec_.batch - 1) / spec_.batch;
  const uint64_t replicas = std::max(1u, spec_.local.replicas);
  const uint64_t inner = spec_.local.replicas == 0 ? 1 : spec_.local.inner_steps;
  const uint64_t rest = batches_ % (replicas * inner);
  steps_ = batches_ / (replicas * inner) * inner + (rest + replicas - 1) / replicas;
  total_steps_ = steps_ * spec_.epochs;
  if (spec_.max_steps > 0) total_steps_ = std::min(total_steps_, spec_.max_steps);
  if (steps_ == 0) return;
  total_samples_ = total_steps_ / steps_ * samples;
  for (uint64_t step = total_steps_ / steps_ * steps_, batches = 0; step < total_steps_;) {
    const RoundShape shape = Next(batches, step);
    total_samples_ += shape.samples;
    batches += shape.batches;
    step += shape.steps;
  }
}

RoundShape Course::Next(uint64_t batches_done, uint64_t steps_done) const {
  const uint64_t replicas = std::max(1u, spec_.local.replicas);
  const uint64_t inner = spec_.local.replicas == 0 ? 1 : spec_.local.inner_steps;
  const uint64_t most = replicas * std::min(inner, total_steps_ - steps_done);
  const uint64_t batches = std::min(batches_ - batches_done, most);
  const uint64_t end = std::min((batches_done + batches) * spec_.batch, spec_.train.samples);
  return ShapeOf(spec_, end - batches_done * spec_.batch);
}

double Course::LearningRate(uint64_t step) const {
  return spec_.optimizer.learning_rate *
         ScheduleFactor(spec_.schedule, step, total_steps_, steps_ == 0 ? 0 : step / steps_);
}

std::shared_ptr<const RoundPlan> MakeGradientPlan(const Spec& spec, const Model& model, uint64_t samples) {
  return std::make_shared<ShardPlan>(ShardPlan::Options{
      .samples = samples, .shard = spec.micro_shard, .probe = ProbeSamples(model), .sharing = Sharing::kEven});
}

std::shared_ptr<const RoundPlan> MakeLocalPlan(const Spec& spec, const Model& model, uint64_t samples) {
  return std::make_shared<ReplicaPlan>(ShapeOf(spec, samples), ProbeSamples(model),
                                       spec.local.upload == Compression::kNone);
}

std::shared_ptr<const RoundPlan> MakeEvaluationPlan(const Spec& spec, const Model& model) {
  const double share =
      static_cast<double>(model.forward_flop) / static_cast<double>(std::max<uint64_t>(1, model.training_flop));
  return std::make_shared<ShardPlan>(ShardPlan::Options{
      .samples = spec.test.samples, .shard = kEvaluationShard, .cost = share, .probe = ProbeSamples(model)});
}

}  // namespace potluck::cnn
