// A workload for tests: each index has a value that a hash gives, the result of an interval is their sum.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/workload/fields.h"
#include "kernels/workload/planner.h"

namespace potluck::simulation {

inline uint64_t ValueOf(uint32_t round, uint64_t index) {
  uint64_t x = (static_cast<uint64_t>(round) << 32 | index) * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
  x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
  return x ^ x >> 32;
}

inline uint64_t SumOf(uint32_t round, Interval interval) {
  uint64_t sum = 0;
  for (uint64_t i = interval.begin; i < interval.end; ++i) sum += ValueOf(round, i);
  return sum;
}

inline std::string PayloadOf(uint64_t sum) {
  FieldWriter writer;
  writer.Fixed64(1, sum);
  return writer.Take();
}

// Every index costs 1.
class FakePlan final : public RoundPlan {
 public:
  explicit FakePlan(uint64_t size) : size_(size) {}
  uint64_t Size() const override { return size_; }
  double Cost(Interval interval) const override { return static_cast<double>(interval.size()); }
  uint64_t Cut(Interval within, double cost) const override {
    if (cost >= static_cast<double>(within.size())) return within.end;
    return within.begin + (cost < 1 ? 1 : static_cast<uint64_t>(cost));
  }
  double ProbeCost() const override { return 4; }

 private:
  uint64_t size_;
};

// `rounds` rounds of `size` indices each. Its state is the round about to be opened and the sum so far.
class FakePlanner final : public Planner {
 public:
  FakePlanner(uint32_t rounds, uint64_t size, uint64_t known_answers = 0)
      : rounds_(rounds), plan_(std::make_shared<FakePlan>(size)), known_answers_(known_answers) {}

  Result<std::optional<Round>> NextRound(double) override {
    total_ += round_sum_;
    round_sum_ = 0;
    if (next_ == rounds_) return std::optional<Round>();
    Round round;
    round.number = next_++;
    round.plan = plan_;
    return std::optional<Round>(round);
  }
  Status Check(Interval, std::string_view payload) const override {
    return FieldReader::Parse(payload) ? Status() : Status::Error("the payload is not a message");
  }
  Status Merge(Interval, std::string payload) override {
    round_sum_ += FieldReader::Parse(payload)->Number(1);
    return {};
  }
  Result<std::string> Combine(std::span<const Part> parts) const override {
    uint64_t sum = 0;
    for (const Part& part : parts) sum += FieldReader::Parse(part.payload)->Number(1);
    return PayloadOf(sum);
  }
  std::vector<Part> KnownAnswers() const override {
    std::vector<Part> answers;
    for (uint64_t i = 0; i < known_answers_ && next_ > 0; ++i) {
      const uint64_t begin = plan_->Size() * i / known_answers_;
      const Interval interval{begin, std::min(begin + 1 + i % 3, plan_->Size())};
      answers.push_back({interval, PayloadOf(SumOf(next_ - 1, interval))});
    }
    return answers;
  }
  void ResetRound() override { round_sum_ = 0; }
  // Asked for between the last merge of a round and the opening of the next.
  std::vector<SharedBytes> State() const override {
    FieldWriter writer;
    writer.Uint(1, next_);
    writer.Fixed64(2, total_ + round_sum_);
    return {SharedBytes(writer.Take())};
  }
  Status Restore(std::string_view state) override {
    const auto fields = FieldReader::Parse(state);
    if (!fields) return Status::Error("not a state");
    next_ = static_cast<uint32_t>(fields->Number(1));
    total_ = fields->Number(2);
    return {};
  }
  std::string Summary() const override { return PayloadOf(total_ + round_sum_); }

 private:
  const uint32_t rounds_;
  const std::shared_ptr<const FakePlan> plan_;
  const uint64_t known_answers_;
  uint32_t next_ = 0;
  uint64_t total_ = 0;
  uint64_t round_sum_ = 0;
};

}  // namespace potluck::simulation
