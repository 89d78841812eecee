#include "kernels/cnn/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace potluck::cnn {
namespace {

OptimizerSpec Sgd(double momentum = 0, bool nesterov = false, double decay = 0) {
  return {.kind = OptimizerKind::kSgd,
          .learning_rate = 0.1,
          .momentum = momentum,
          .nesterov = nesterov,
          .weight_decay = decay};
}

OptimizerSpec AdamW() {
  return {.kind = OptimizerKind::kAdamW, .learning_rate = 0.01, .weight_decay = 0.1, .epsilon = 1e-8};
}

// --- Worked by hand

TEST(OptimizerTest, SgdGoesDownTheGradient) {
  Optimizer optimizer(Sgd(), 1);
  std::vector<float> parameter = {1.0f};
  optimizer.Step(parameter, std::vector<float>{8.0f}, 0.25f, 0.5);  // 1 - 0.5 * (8 / 4)
  EXPECT_EQ(parameter[0], 0.0f);
  EXPECT_TRUE(optimizer.state().empty());
  EXPECT_EQ(optimizer.steps(), 1u);
}

TEST(OptimizerTest, MomentumKeepsItsVelocity) {
  Optimizer optimizer(Sgd(0.5), 1);
  std::vector<float> parameter = {1.0f};
  optimizer.Step(parameter, std::vector<float>{2.0f}, 1, 0.25);  // v = 2; 1 - 0.5
  EXPECT_EQ(parameter[0], 0.5f);
  optimizer.Step(parameter, std::vector<float>{2.0f}, 1, 0.25);  // v = 3; 0.5 - 0.75
  EXPECT_EQ(parameter[0], -0.25f);
  EXPECT_EQ(optimizer.state()[0][0], 3.0f);
}

TEST(OptimizerTest, NesterovLooksAheadAndDecayPullsToZero) {
  Optimizer optimizer(Sgd(0.5, true, 0.5), 1);
  std::vector<float> parameter = {2.0f};
  // Gradient 1 + 0.5 * 2 = 2; v = 2; 2 + 0.5 * 2 = 3; 2 - 0.25 * 3.
  optimizer.Step(parameter, std::vector<float>{1.0f}, 1, 0.25);
  EXPECT_EQ(parameter[0], 1.25f);
}

TEST(OptimizerTest, AdadeltasFirstStepIsSmall) {
  Optimizer optimizer({.kind = OptimizerKind::kAdadelta, .rho = 0.75, .epsilon = 0.25}, 1);
  std::vector<float> parameter = {1.0f};
  // square = 0.25 * 3 * 3 = 2.25 and with epsilon 2.5; delta = sqrt(0.25 / 2.5) * 3.
  optimizer.Step(parameter, std::vector<float>{3.0f}, 1, 1.0);
  EXPECT_NEAR(parameter[0], 1 - std::sqrt(0.1) * 3, 1e-7);
  EXPECT_EQ(optimizer.state()[0][0], 2.25f);
  EXPECT_NEAR(optimizer.state()[1][0], 0.25 * 0.9, 1e-7);
}

TEST(OptimizerTest, AdamWsFirstStepIsTheLearningRate) {
  Optimizer optimizer({.kind = OptimizerKind::kAdamW, .weight_decay = 0.5, .epsilon = 1e-12}, 1);
  std::vector<float> parameter = {2.0f};
  optimizer.Step(parameter, std::vector<float>{-5.0f}, 1, 0.1);  // 2 * (1 - 0.05) + 0.1
  EXPECT_NEAR(parameter[0], 2.0, 1e-6);
}

// --- Recorded from PyTorch 2.15 by these lines:
//   p = torch.nn.Parameter(torch.tensor([0.5, -1.25, 2.0, 0.0, -0.001])); o = torch.optim.<...>([p], ...)
//   for t in range(6): p.grad = torch.tensor([((i*7+t*3)%11-5)/8 for i in range(5)]); o.step()
//   print(p.tolist())

std::vector<float> SixSteps(const OptimizerSpec& spec) {
  std::vector<float> parameters = {0.5f, -1.25f, 2.0f, 0.0f, -0.001f};
  Optimizer optimizer(spec, 5);
  for (int t = 0; t < 6; ++t) {
    std::vector<float> gradient;
    for (int i = 0; i < 5; ++i) gradient.push_back(static_cast<float>((i * 7 + t * 3) % 11 - 5) / 8);
    optimizer.Step(parameters, gradient, 1, spec.learning_rate);
  }
  return parameters;
}

void ExpectClose(const std::vector<float>& got, const std::vector<double>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 3e-7 * (1 + std::fabs(wanted[i]))) << i;
}

TEST(OptimizerTest, AgreesWithRecordedRunsOfPyTorch) {
  ExpectClose(SixSteps(Sgd(0, false, 0.01)),
              {0.5841831564903259, -1.2672191858291626, 1.987992525100708, 0.025174565613269806, -0.08838178217411041});
  ExpectClose(SixSteps(Sgd(0.9)),
              {0.8242393732070923, -1.502871036529541, 2.0282511711120605, -0.09715811163187027, -0.1684998720884323});
  ExpectClose(SixSteps(Sgd(0.9, true, 0.01)),
              {0.8648593425750732, -1.472380518913269, 1.981167197227478, -0.060333002358675, -0.2379337102174759});
  ExpectClose(SixSteps({}), {0.5021560788154602, -1.2513105869293213, 1.9999761581420898, 0.0008252552361227572,
                             -0.005235714837908745});
  ExpectClose(SixSteps(AdamW()), {0.5280888080596924, -1.2720805406570435, 1.9985898733139038, -0.014365649782121181,
                                  -0.024987492710351944});
}

// --- Threads, state

TEST(OptimizerTest, AnyNumberOfThreadsGivesTheSameBits) {
  constexpr uint64_t kSize = 10'007;
  for (const OptimizerSpec& spec : {Sgd(), Sgd(0.9), Sgd(0.9, true, 0.01), OptimizerSpec{}, AdamW()}) {
    std::vector<float> wanted;
    for (const int threads : {1, 2, 3, 7, 64}) {
      std::vector<float> parameters(kSize), gradient(kSize);
      Optimizer optimizer(spec, kSize);
      for (int step = 0; step < 3; ++step) {
        for (uint64_t i = 0; i < kSize; ++i) gradient[i] = std::sin(static_cast<float>(i * (step + 1)));
        optimizer.Step(parameters, gradient, 1.0f / 128, 0.3, threads);
      }
      if (wanted.empty()) wanted = parameters;
      EXPECT_EQ(parameters, wanted) << ToString(spec.kind) << ", threads: " << threads;
    }
  }
}

// Each number by itself: a vector's width must not show.
TEST(OptimizerTest, ANumbersPlaceDoesNotChangeItsBits) {
  for (const OptimizerSpec& spec : {Sgd(0.9, true, 0.01), OptimizerSpec{}, AdamW()}) {
    std::vector<float> many(37), gradient(37);
    for (int i = 0; i < 37; ++i) many[i] = 1.0f / static_cast<float>(i + 3), gradient[i] = std::cos(i * 0.7f);
    const std::vector<float> start = many;
    Optimizer together(spec, 37);
    for (int step = 0; step < 4; ++step) together.Step(many, gradient, 0.3f, 0.1);
    for (int i = 0; i < 37; ++i) {
      Optimizer alone(spec, 1);
      std::vector<float> one = {start[i]};
      for (int step = 0; step < 4; ++step) alone.Step(one, {&gradient[i], 1}, 0.3f, 0.1);
      EXPECT_EQ(one[0], many[i]) << ToString(spec.kind) << " " << i;
    }
  }
}

TEST(OptimizerTest, ARestoredStateGoesOnToTheSameBits) {
  for (const OptimizerSpec& spec : {Sgd(0.9), OptimizerSpec{}, AdamW()}) {
    std::vector<float> parameters = {1, 2, 3};
    const std::vector<float> gradient = {0.1f, -0.2f, 0.3f};
    Optimizer first(spec, 3);
    first.Step(parameters, gradient, 1, 0.1);
    std::vector<float> resumed = parameters;
    Optimizer second(spec, 3);
    ASSERT_TRUE(second.Restore(first.state(), first.steps()).ok());
    first.Step(parameters, gradient, 1, 0.1);
    second.Step(resumed, gradient, 1, 0.1);
    EXPECT_EQ(resumed, parameters);
    second.Reset();
    EXPECT_EQ(second.steps(), 0u);
    EXPECT_EQ(second.state()[0], (std::vector<float>{0, 0, 0}));
  }
  Optimizer adadelta({}, 3);
  EXPECT_EQ(adadelta.Restore({{1, 2, 3}}, 1).message(), "The state of adadelta has 1 arrays; allowed: 2.");
  EXPECT_EQ(adadelta.Restore({{1, 2, 3}, {1}}, 1).message(),
            "An array of the state of adadelta has 1 values; allowed: 3.");
}

TEST(OptimizerTest, EveryFieldIsChecked) {
  const auto complaint = [](const OptimizerSpec& spec) { return CheckOptimizer(spec).message(); };
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(complaint({}), "");
  EXPECT_EQ(complaint(Sgd(0.9, true, 0.1)), "");
  EXPECT_EQ(complaint({.kind = static_cast<OptimizerKind>(0)}),
            "optimizer is 0; allowed: 1 (SGD), 2 (ADADELTA) and 3 (ADAMW).");
  EXPECT_EQ(complaint({.learning_rate = -0.5}), "learning_rate is -0.500000; allowed: 0 to 1000000.");
  EXPECT_EQ(complaint({.learning_rate = nan}), "learning_rate is nan; allowed: 0 to 1000000.");
  EXPECT_EQ(complaint({.learning_rate = infinity}), "learning_rate is inf; allowed: 0 to 1000000.");
  EXPECT_EQ(complaint(Sgd(1.0)), "momentum is 1.000000; allowed: 0 to less than 1.");
  EXPECT_EQ(complaint(Sgd(0, true)), "momentum is 0.000000; allowed: with nesterov more than 0, less than 1.");
  EXPECT_EQ(complaint(Sgd(0, false, -1)), "weight_decay is -1.000000; allowed: 0 to 1000.");
  EXPECT_EQ(complaint({.rho = 1}), "rho is 1.000000; allowed: 0 to less than 1.");
  EXPECT_EQ(complaint({.beta1 = -0.1}), "beta1 is -0.100000; allowed: 0 to less than 1.");
  EXPECT_EQ(complaint({.beta2 = nan}), "beta2 is nan; allowed: 0 to less than 1.");
  EXPECT_EQ(complaint({.epsilon = 0}), "epsilon is 0.000000; allowed: 1e-30 to 1.");
  EXPECT_EQ(complaint({.momentum = 0.5}), "momentum is 0.500000; allowed: 0, as only sgd has it.");
  EXPECT_EQ(complaint({.weight_decay = 0.5}), "weight_decay is 0.500000; allowed: 0, as adadelta has none.");
}

// --- Schedules

TEST(ScheduleTest, RisesThenFallsAsItSays) {
  const ScheduleSpec constant{.warmup_share = 0.1};
  EXPECT_EQ(ScheduleFactor({}, 0, 100, 0), 1.0);
  EXPECT_EQ(ScheduleFactor({}, 99, 100, 9), 1.0);
  EXPECT_DOUBLE_EQ(ScheduleFactor(constant, 0, 100, 0), 0.1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(constant, 4, 100, 0), 0.5);
  EXPECT_EQ(ScheduleFactor(constant, 9, 100, 0), 1.0);
  const ScheduleSpec cosine{.kind = ScheduleKind::kCosine, .warmup_share = 0.2, .final_factor = 0.1};
  EXPECT_DOUBLE_EQ(ScheduleFactor(cosine, 9, 100, 0), 0.5);
  double last = 2;
  for (uint64_t step = 20; step <= 100; ++step) {
    const double wanted = 0.1 + 0.9 * 0.5 * (1 + std::cos(std::acos(-1.0) * static_cast<double>(step - 20) / 80));
    const double factor = ScheduleFactor(cosine, step, 100, 0);
    EXPECT_NEAR(factor, wanted, 4e-16) << step;
    EXPECT_LT(factor, last);
    last = factor;
  }
  EXPECT_DOUBLE_EQ(last, 0.1);
  const ScheduleSpec exponential{.kind = ScheduleKind::kExponential, .gamma = 0.7};
  EXPECT_EQ(ScheduleFactor(exponential, 5, 100, 0), 1.0);
  EXPECT_NEAR(ScheduleFactor(exponential, 5, 100, 9), std::pow(0.7, 9), 1e-16);
}

TEST(ScheduleTest, EveryFieldIsChecked) {
  EXPECT_TRUE(CheckSchedule({}).ok());
  EXPECT_EQ(CheckSchedule({.kind = static_cast<ScheduleKind>(3)}).message(),
            "schedule is 3; allowed: 0 (CONSTANT), 1 (COSINE) and 2 (EXPONENTIAL).");
  EXPECT_EQ(CheckSchedule({.warmup_share = 1}).message(), "warmup_share is 1.000000; allowed: 0 to less than 1.");
  EXPECT_EQ(CheckSchedule({.final_factor = -1}).message(), "final_factor is -1.000000; allowed: 0 to 1.");
  EXPECT_EQ(CheckSchedule({.gamma = std::nan("")}).message(), "gamma is nan; allowed: 0 to 1.");
  EXPECT_EQ(CheckSchedule({.kind = ScheduleKind::kExponential, .gamma = 0}).message(),
            "gamma is 0.000000; allowed: with EXPONENTIAL more than 0, 1 at most.");
}

}  // namespace
}  // namespace potluck::cnn
