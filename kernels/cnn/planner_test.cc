#include "kernels/cnn/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cnn/results.h"
#include "kernels/cnn/training_testing.h"

namespace potluck::cnn {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A planner whose first round is open: six micro-shards of 4 samples, or replicas.
class CnnPlannerTest : public ::testing::Test {
 protected:
  void Open(const Spec& spec) {
    spec_ = spec;
    floats_ = MakeModel(spec.model)->parameter_count;
    planner_ = Make(spec);
    round_ = **planner_->NextRound(0);
  }
  std::unique_ptr<Planner> Make(const Spec& spec) {
    Result<std::unique_ptr<Planner>> planner = MakePlanner(Encode(spec), blobs_.reader());
    EXPECT_TRUE(planner.ok()) << planner.status().message();
    return *std::move(planner);
  }
  std::string ResultOf(float value, const Tally& tally) const {
    const std::vector<float> floats(floats_, value);
    std::string result(reinterpret_cast<const char*>(floats.data()), 4 * floats.size());
    AppendTally(tally, result);
    return result;
  }
  std::string Sentence(Interval interval, const std::string& result) const {
    return planner_->Check(interval, result).message();
  }
  // The sums that a block of the first round has if each sample's gradient is `value`.
  std::string Block(Interval block, float value = 0.25f) const {
    return ResultOf(value * static_cast<float>(block.size()), {.loss_sum = 1, .samples = 4 * block.size(), .hits = 1});
  }

  TestBlobs blobs_;
  Spec spec_;
  uint64_t floats_ = 0;
  std::unique_ptr<Planner> planner_;
  Round round_;
};

TEST_F(CnnPlannerTest, ARoundSaysWhatItIs) {
  Spec spec = TinySpec(blobs_);
  spec.numerics_class = "some";
  Open(spec);
  EXPECT_EQ(round_.number, 0u);
  EXPECT_EQ(round_.durability, Durability::kVolatile);
  EXPECT_EQ(round_.plan->Size(), 6u);
  EXPECT_EQ(round_.plan->sharing(), Sharing::kEven);
  EXPECT_EQ(round_.max_result_bytes, 4 * floats_ + kTallyBytes);
  EXPECT_FALSE(round_.is_exact);
  EXPECT_EQ(round_.numerics_class, "some");
  ASSERT_EQ(round_.bulk.size(), 1u);
  EXPECT_EQ(round_.bulk[0].size(), 4 * floats_);
  const RoundPayload payload = *DecodeRound(round_.payload);
  EXPECT_EQ(payload.kind, RoundKind::kGradient);
  EXPECT_EQ(payload.samples, 24u);
  EXPECT_EQ(payload.spec, Encode(spec));
}

TEST_F(CnnPlannerTest, PossibleResultsPass) {
  Open(TinySpec(blobs_));
  for (const Interval block : {Interval{0, 4}, Interval{4, 6}, Interval{5, 6}, Interval{0, 6}}) {
    EXPECT_EQ(Sentence(block, Block(block)), "");
    EXPECT_EQ(Sentence(block, DivergedMark(4 * block.size())), "");
  }
}

TEST_F(CnnPlannerTest, ImpossibleResultsAreRefusedByField) {
  Open(TinySpec(blobs_));
  const Interval block{0, 2};
  const Tally tally{.loss_sum = 1, .samples = 8, .hits = 8};
  EXPECT_EQ(Sentence(block, ResultOf(1, tally)), "");
  EXPECT_EQ(Sentence({1, 3}, ResultOf(1, tally)),
            "The interval is [1, 3); allowed: a dyadic block, [k 2^j, (k + 1) 2^j).");
  EXPECT_EQ(Sentence({4, 7}, ResultOf(1, tally)), "The interval is [4, 7); allowed: not empty and within [0, 6).");
  EXPECT_EQ(Sentence({2, 2}, ""), "The interval is [2, 2); allowed: not empty and within [0, 6).");
  for (const size_t cut : {size_t{1}, size_t{4}, size_t{4 * floats_}}) {
    const std::string result = ResultOf(1, tally);
    EXPECT_THAT(Sentence(block, result.substr(cut)), StartsWith("The result of [0, 2) has bytes ")) << cut;
  }
  EXPECT_THAT(Sentence(block, ResultOf(1, tally) + "x"), StartsWith("The result of [0, 2) has bytes "));
  EXPECT_THAT(Sentence(block, ""), StartsWith("The result of [0, 2) has bytes 0; allowed: "));

  Tally wrong = tally;
  wrong.samples = 7;
  EXPECT_EQ(Sentence(block, ResultOf(1, wrong)), "The result of [0, 2) has samples 7; allowed: 8.");
  wrong = tally;
  wrong.hits = 9;
  EXPECT_EQ(Sentence(block, ResultOf(1, wrong)), "The result of [0, 2) has hits 9; allowed: 0 to 8.");
  wrong = tally;
  wrong.steps = 1;
  EXPECT_EQ(Sentence(block, ResultOf(1, wrong)), "The result of [0, 2) has inner steps 1; allowed: 0.");
  for (const double loss : {-1e-9, std::nan(""), std::numeric_limits<double>::infinity()}) {
    wrong = tally;
    wrong.loss_sum = loss;
    EXPECT_THAT(Sentence(block, ResultOf(1, wrong)), HasSubstr("allowed: finite, 0 or more.")) << loss;
  }
  EXPECT_EQ(Sentence(block, DivergedMark(9)), "The result of [0, 2) has samples 9; allowed: 8.");
}

TEST_F(CnnPlannerTest, NumbersThatAreNotFiniteAreRefusedAnywhere) {
  Open(TinySpec(blobs_));
  for (const float wrong : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (const uint64_t place : {uint64_t{0}, floats_ / 2, floats_ - 1}) {
      std::string result = Block({0, 1});
      std::memcpy(result.data() + 4 * place, &wrong, 4);
      EXPECT_THAT(Sentence({0, 1}, result), HasSubstr("holds a NaN or an infinity"));
    }
  }
}

TEST_F(CnnPlannerTest, LocalResultsAreCheckedByReplica) {
  Spec spec = TinySpec(blobs_);
  spec.batch = 5;
  spec.local = {.replicas = 3, .inner_steps = 3, .upload = Compression::kTernary};
  Open(spec);
  EXPECT_EQ(round_.plan->Size(), 3u);
  std::string codes;
  Encode(Compression::kTernary, std::vector<float>(floats_, 0.5f), {}, codes);
  std::string result = codes;
  AppendTally({.loss_sum = 1, .samples = 15, .hits = 2, .steps = 3}, result);
  EXPECT_EQ(round_.max_result_bytes, result.size());
  EXPECT_EQ(Sentence({1, 2}, result), "");
  EXPECT_EQ(Sentence({0, 2}, result), "The interval is [0, 2); allowed: one replica.");
  EXPECT_THAT(Sentence({1, 2}, Block({0, 1})), HasSubstr("has bytes"));
  std::string bad = result;
  bad[codes.size() - 2] = '\xff';
  EXPECT_THAT(Sentence({1, 2}, bad), StartsWith("The result of [1, 2): "));
  bad = codes;
  AppendTally({.loss_sum = 1, .samples = 15, .hits = 2, .steps = 2}, bad);
  EXPECT_EQ(Sentence({1, 2}, bad), "The result of [1, 2) has inner steps 2; allowed: 3.");
}

TEST_F(CnnPlannerTest, CombinedResultsDoNotDependOnTheCutting) {
  Open(TinySpec(blobs_));
  const auto part = [&](Interval block) { return Part{block, Block(block, 0.1f)}; };
  const auto sum = [&](const std::vector<Part>& parts) { return *planner_->Combine(parts); };
  // What the halves sum up to, in the tree.
  std::string two = Block({0, 1}, 0.1f);
  AddResult(two, Block({1, 2}, 0.1f), floats_);
  EXPECT_EQ(sum({part({0, 1}), part({1, 2})}), two);
  EXPECT_EQ(sum({part({0, 1}), part({1, 2}), part({2, 3})}), two + Block({2, 3}, 0.1f));
  EXPECT_EQ(sum({Part{{0, 2}, two}, part({2, 3})}), two + Block({2, 3}, 0.1f));
  EXPECT_EQ(sum({part({1, 2}), part({2, 4})}), Block({1, 2}, 0.1f) + Block({2, 4}, 0.1f));
  const std::vector<Part> wrong{{{1, 3}, Block({1, 3})}};
  EXPECT_FALSE(planner_->Combine(wrong).ok());
}

TEST_F(CnnPlannerTest, ARoundMustBeCompleteBeforeTheNext) {
  Open(TinySpec(blobs_));
  ASSERT_TRUE(planner_->Merge({4, 6}, Block({4, 6})).ok());
  EXPECT_EQ(planner_->NextRound(0).status().message(), "Round 0 is not complete: 2 of 6 indices are merged.");
  planner_->ResetRound();
  EXPECT_EQ(planner_->NextRound(0).status().message(), "Round 0 is not complete: 0 of 6 indices are merged.");
  EXPECT_FALSE(planner_->Merge({1, 3}, Block({1, 3})).ok());
  EXPECT_FALSE(planner_->Merge({0, 1}, "short").ok());
}

TEST_F(CnnPlannerTest, AStateStaysAsItIsAlthoughThePlannerGoesOn) {
  Open(TinySpec(blobs_));
  ASSERT_TRUE(planner_->Merge({0, 6}, Block({0, 6})).ok());
  const std::vector<SharedBytes> parts = planner_->State();
  ASSERT_EQ(parts.size(), 3u);  // Header, parameters, momentum.
  const std::string before = Concatenate(parts);
  // Asked for before NextRound it is that of the next round.
  round_ = **planner_->NextRound(0);
  EXPECT_EQ(round_.number, 1u);
  EXPECT_EQ(round_.bulk[0].view(), parts[1].view());
  EXPECT_EQ(Concatenate(planner_->State()), before);
  ASSERT_TRUE(planner_->Merge({0, 6}, Block({0, 6})).ok());
  round_ = **planner_->NextRound(0);
  EXPECT_EQ(Concatenate(parts), before);
  EXPECT_NE(Concatenate(planner_->State()), before);
  // Nothing was copied: the parameters are those that the workers read.
  EXPECT_EQ(planner_->State()[1].view().data(), round_.bulk[0].view().data());
}

TEST_F(CnnPlannerTest, ARoundThatIsOverTakesNoMore) {
  Open(TinySpec(blobs_));
  ASSERT_TRUE(planner_->Merge({0, 6}, Block({0, 6})).ok());
  const std::string state = Concatenate(planner_->State());
  planner_->ResetRound();
  EXPECT_TRUE(planner_->Merge({0, 6}, Block({0, 6}, 3)).ok());
  EXPECT_EQ(Concatenate(planner_->State()), state);
  EXPECT_EQ((**planner_->NextRound(0)).number, 1u);
}

TEST_F(CnnPlannerTest, AMarkIsBelievedWhenItComesTwice) {
  Open(TinySpec(blobs_));
  const std::string state = Concatenate(planner_->State());
  ASSERT_TRUE(planner_->Merge({0, 4}, Block({0, 4})).ok());
  ASSERT_TRUE(planner_->Merge({4, 6}, DivergedMark(8)).ok());
  const Round again = **planner_->NextRound(0);
  EXPECT_EQ(again.number, 1u);
  EXPECT_EQ(again.payload, round_.payload);
  EXPECT_EQ(again.bulk[0].view(), round_.bulk[0].view());
  // It was the device: on it goes.
  ASSERT_TRUE(planner_->Merge({0, 6}, Block({0, 6})).ok());
  EXPECT_EQ((**planner_->NextRound(0)).number, 2u);

  const std::unique_ptr<Planner> other = Make(spec_);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(other->NextRound(0).ok());
    ASSERT_TRUE(other->Merge({0, 6}, DivergedMark(24)).ok());
  }
  EXPECT_EQ(other->NextRound(0).status().message(),
            "Training diverged at step 1 (epoch 1): a loss or a gradient is not a finite number. Lower the learning "
            "rate (it was 0.05) or let it rise slowly (warm-up).");
  EXPECT_TRUE(other->State().empty());
}

TEST_F(CnnPlannerTest, StatesOfOtherJobsAndDamagedOnesAreRefused) {
  Open(TinySpec(blobs_));
  ASSERT_TRUE(planner_->Merge({0, 6}, Block({0, 6})).ok());
  const std::string state = Concatenate(planner_->State());
  EXPECT_TRUE(Make(spec_)->Restore(state).ok());
  const auto sentence = [&](const Spec& spec) { return Make(spec)->Restore(state).message(); };

  Spec other = spec_;
  other.model.layers[4].units = 13;
  EXPECT_THAT(sentence(other), StartsWith("The saved state is of another network, \"tiny\""));
  other = spec_;
  other.optimizer = {};
  EXPECT_EQ(sentence(other), "The saved state is of a job with optimizer 1; allowed to go on from here: 2.");
  other = spec_;
  other.optimizer.momentum = 0;
  EXPECT_THAT(sentence(other), HasSubstr("arrays of the optimizer 1; allowed to go on from here: 0."));
  other = spec_;
  other.batch = 25;
  EXPECT_EQ(sentence(other), "The saved state is of a job with batch 24; allowed to go on from here: 25.");
  other = spec_;
  other.local = {.replicas = 2, .inner_steps = 2};
  EXPECT_THAT(sentence(other), HasSubstr("local.replicas 0; allowed to go on from here: 2."));

  for (size_t size = 0; size < state.size(); size += 1 + size / 7) {
    EXPECT_THAT(Make(spec_)->Restore(state.substr(0, size)).message(), StartsWith("The saved state is damaged: "))
        << size;
  }
  EXPECT_THAT(Make(spec_)->Restore(state + "x").message(), StartsWith("The saved state is damaged: "));
  std::string wrong = state;
  wrong.replace(wrong.size() - 4, 4, "\xff\xff\xff\x7f", 4);
  EXPECT_EQ(Make(spec_)->Restore(wrong).message(), "The saved state is damaged: a number in it is not finite.");
  for (size_t place = 8; place < 200; ++place) {
    wrong = state;
    wrong[place] = static_cast<char>(wrong[place] ^ 0x55);
    (void)Make(spec_)->Restore(wrong).ok();  // Whatever it says, it does not crash.
  }
}

TEST_F(CnnPlannerTest, WrongSpecificationsAndMissingBlobsAreRefused) {
  EXPECT_FALSE(MakePlanner("\xff\xff", {}).ok());
  Spec spec = TinySpec(blobs_);
  spec.batch = 0;
  EXPECT_THAT(MakePlanner(Encode(spec), {}).status().message(), StartsWith("batch is 0; allowed: "));
  spec = TinySpec(blobs_);
  spec.initial_state = std::string(32, 'x');
  EXPECT_EQ(Make(spec)->NextRound(0).status().message(), "There is no such blob.");
  EXPECT_FALSE((*MakePlanner(Encode(spec), {}))->NextRound(0).ok());
}

}  // namespace
}  // namespace potluck::cnn
