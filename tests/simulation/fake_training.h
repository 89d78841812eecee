// A workload for tests whose rounds are volatile: it trains a few floats. Each index of a round adds a gradient that
// depends on the parameters; a slice is one dyadic block, whose sum is added in a fixed tree. So the result has the
// same bits whoever did the work and however often it was begun anew, and other bits if the order of a single addition
// changes, a slice is missing or one is counted twice.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/workload/planner.h"
#include "tests/simulation/fake_workload.h"

namespace potluck::simulation {

using Floats = std::array<float, 3>;

inline std::string BytesOf(const Floats& floats) {
  return {reinterpret_cast<const char*>(floats.data()), sizeof(Floats)};
}

inline Floats FloatsOf(std::string_view bytes) {
  Floats floats{};
  std::memcpy(floats.data(), bytes.data(), std::min(bytes.size(), sizeof(Floats)));
  return floats;
}

inline Floats Sum(const Floats& a, const Floats& b) {
  Floats sum;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = a[i] + b[i];
  return sum;
}

inline Floats GradientOf(const Floats& parameters, uint32_t round, uint64_t index) {
  Floats gradient;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const float noise = static_cast<float>(ValueOf(round, index * 3 + i) >> 40) * 0x1p-24f;
    gradient[i] = noise + parameters[i] * (0.25f + noise / 3);
  }
  return gradient;
}

// The largest dyadic block [k 2^j, min((k+1) 2^j, size)) that begins at `begin` and does not pass `end`.
inline Interval BlockAt(uint64_t begin, uint64_t end, uint64_t size) {
  Interval best{begin, begin + 1};
  for (uint64_t length = 1; begin % length == 0 && length < 2 * size; length *= 2) {
    const uint64_t block_end = std::min(begin + length, size);
    if (block_end > end) break;
    best.end = block_end;
  }
  return best;
}

inline bool IsBlock(Interval interval, uint64_t size) {
  return !interval.empty() && BlockAt(interval.begin, interval.end, size) == interval;
}

// The sum over a block, in the fixed tree.
inline Floats BlockGradient(const Floats& parameters, uint32_t round, Interval block) {
  if (block.size() == 1) return GradientOf(parameters, round, block.begin);
  uint64_t half = 1;
  while (half * 2 < block.size()) half *= 2;
  const uint64_t middle = block.begin + half;
  return Sum(BlockGradient(parameters, round, {block.begin, middle}),
             BlockGradient(parameters, round, {middle, block.end}));
}

inline Floats Step(const Floats& parameters, const Floats& gradient, uint64_t size) {
  Floats next;
  for (size_t i = 0; i < next.size(); ++i) next[i] = parameters[i] - 0.1f * gradient[i] / static_cast<float>(size);
  return next;
}

// What a job must end with.
inline Floats TrainAlone(uint32_t rounds, uint64_t size) {
  Floats parameters{};
  for (uint32_t round = 0; round < rounds; ++round) {
    parameters = Step(parameters, BlockGradient(parameters, round, {0, size}), size);
  }
  return parameters;
}

// Every index costs 1; one unit a slot.
class FakeTrainingPlan final : public RoundPlan {
 public:
  explicit FakeTrainingPlan(uint64_t size) : size_(size) {}
  uint64_t Size() const override { return size_; }
  double Cost(Interval interval) const override { return static_cast<double>(interval.size()); }
  uint64_t Cut(Interval within, double cost) const override {
    if (cost >= static_cast<double>(within.size())) return within.end;
    return within.begin + std::max<uint64_t>(1, static_cast<uint64_t>(cost + 0.5));
  }
  double ProbeCost() const override { return 2; }
  Sharing sharing() const override { return Sharing::kEven; }

 private:
  uint64_t size_;
};

// `rounds` steps of `size` indices each.
class FakeTrainingPlanner final : public Planner {
 public:
  FakeTrainingPlanner(uint32_t rounds, uint64_t size, std::string numerics_class = "")
      : rounds_(rounds), plan_(std::make_shared<FakeTrainingPlan>(size)), numerics_class_(std::move(numerics_class)) {}

  Result<std::optional<Round>> NextRound(double) override {
    if (!blocks_.empty()) {
      parameters_ = Step(parameters_, blocks_.begin()->second.second, plan_->Size());
      blocks_.clear();
    }
    if (is_open_) ++next_;
    is_open_ = next_ < rounds_;
    if (!is_open_) return std::optional<Round>();
    Round round;
    round.number = next_;
    round.durability = Durability::kVolatile;
    round.plan = plan_;
    round.payload = "step";
    round.bulk = {SharedBytes(BytesOf(parameters_))};
    round.max_result_bytes = sizeof(Floats);
    round.is_exact = false;
    round.numerics_class = numerics_class_;
    return std::optional<Round>(std::move(round));
  }
  Status Check(Interval interval, std::string_view payload) const override {
    if (!IsBlock(interval, plan_->Size())) return Status::Error("the slice is not a block");
    if (payload.size() != sizeof(Floats)) return Status::Error("the result has another length");
    for (const float value : FloatsOf(payload)) {
      if (!(value > -1e30f && value < 1e30f)) return Status::Error("the result is not finite");
    }
    return {};
  }
  Status Merge(Interval interval, std::string payload) override {
    Add(blocks_, interval, FloatsOf(payload), plan_->Size());
    return {};
  }
  Result<std::string> Combine(std::span<const Part> parts) const override {
    std::map<uint64_t, std::pair<Interval, Floats>> blocks;
    for (const Part& part : parts) Add(blocks, part.interval, FloatsOf(part.payload), plan_->Size());
    std::string bytes;
    for (const auto& [begin, block] : blocks) bytes += BytesOf(block.second);
    return bytes;
  }
  void ResetRound() override { blocks_.clear(); }
  std::vector<SharedBytes> State() const override {
    return {SharedBytes(std::to_string(next_) + " "), SharedBytes(BytesOf(parameters_))};
  }
  Status Restore(std::string_view state) override {
    const size_t space = state.find(' ');
    if (space == std::string_view::npos || state.size() != space + 1 + sizeof(Floats)) {
      return Status::Error("not a state");
    }
    next_ = static_cast<uint32_t>(std::stoul(std::string(state.substr(0, space))));
    parameters_ = FloatsOf(state.substr(space + 1));
    return {};
  }
  std::string Summary() const override { return BytesOf(parameters_); }

 private:
  using Blocks = std::map<uint64_t, std::pair<Interval, Floats>>;

  // Adds sibling to sibling as long as there is one. Two blocks side by side whose union is a block are siblings.
  static void Add(Blocks& blocks, Interval block, Floats sum, uint64_t size) {
    for (;;) {
      const auto right = blocks.find(block.end);
      const auto after = blocks.lower_bound(block.begin);
      const auto left = after == blocks.begin() ? blocks.end() : std::prev(after);
      if (right != blocks.end() && IsBlock({block.begin, right->second.first.end}, size)) {
        block.end = right->second.first.end;
        sum = Sum(sum, right->second.second);
        blocks.erase(right);
      } else if (left != blocks.end() && left->second.first.end == block.begin &&
                 IsBlock({left->first, block.end}, size)) {
        block.begin = left->first;
        sum = Sum(left->second.second, sum);
        blocks.erase(left);
      } else {
        blocks[block.begin] = {block, sum};
        return;
      }
    }
  }

  const uint32_t rounds_;
  const std::shared_ptr<const FakeTrainingPlan> plan_;
  const std::string numerics_class_;
  uint32_t next_ = 0;  // The round that is open, or is opened next.
  bool is_open_ = false;
  Floats parameters_{};
  Blocks blocks_;
};

}  // namespace potluck::simulation
