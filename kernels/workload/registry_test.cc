#include "kernels/workload/registry.h"

#include <gtest/gtest.h>

#include "kernels/cnn/payload.h"
#include "kernels/nqueens/payload.h"

namespace potluck {
namespace {

const std::string kSpec = nqueens::Encode(nqueens::Spec{8});

TEST(RegistryTest, MakesThePlannerAndRunnerOfAKnownWorkload) {
  EXPECT_EQ(WorkloadNames(), (std::vector<std::string>{"cnn", "nqueens"}));
  EXPECT_TRUE(MakePlanner("nqueens", kSpec).ok());
  for (const char* dispatch : {"auto", "scalar"}) {
    EXPECT_TRUE(MakeCpuRunner("nqueens", CpuOptions{1, dispatch}).ok()) << dispatch;
  }
}

TEST(RegistryTest, TrainingRunsOnProcessorsAlsoOfMachinesWithGpus) {
  EXPECT_EQ(MakePlanner("cnn", "").status().message(), cnn::DecodeSpec("").status().message());
  for (const auto& runner : {MakeCpuRunner("cnn", CpuOptions{2}), MakeGpuRunner("cnn", "nowhere/p.so", 0)}) {
    ASSERT_TRUE(runner.ok());
    EXPECT_TRUE((*runner)->SelfTest().ok());
  }
}

TEST(RegistryTest, UnknownWorkloadIsNamedWithTheAllowedOnes) {
  const std::string sentence = "The workload is \"chess\"; allowed: cnn, nqueens.";
  EXPECT_EQ(MakePlanner("chess", kSpec).status().message(), sentence);
  EXPECT_EQ(MakeCpuRunner("chess", CpuOptions{}).status().message(), sentence);
  EXPECT_EQ(MakeGpuRunner("chess", "p.so", 0).status().message(), sentence);
}

TEST(RegistryTest, UnknownDispatchAndThreadCountAreRefused) {
  EXPECT_TRUE(MakeCpuRunner("nqueens", CpuOptions{1, "warp"})
                  .status()
                  .message()
                  .starts_with("dispatch is \"warp\"; allowed: auto, "));
  EXPECT_EQ(MakeCpuRunner("nqueens", CpuOptions{0}).status().message(), "threads is 0; allowed: 1 to 4096.");
}

TEST(RegistryTest, SpecificationErrorsNameFieldValueAndAllowedRange) {
  using nqueens::Encode;
  using nqueens::Spec;
  EXPECT_EQ(MakePlanner("nqueens", Encode(Spec{0})).status().message(), "n is 0; allowed: 1 to 32.");
  EXPECT_EQ(MakePlanner("nqueens", Encode(Spec{33})).status().message(), "n is 33; allowed: 1 to 32.");
  EXPECT_EQ(MakePlanner("nqueens", Encode(Spec{8, 3})).status().message(),
            "algorithm is 3; allowed: 1 (backtracking) and 2 (meet in the middle).");
  EXPECT_EQ(MakePlanner("nqueens", Encode(Spec{8, 1, 7})).status().message(),
            "depth is 7; allowed for n = 8: 0 (chosen by the planner) to 6.");
  EXPECT_FALSE(MakePlanner("nqueens", "\xff\xff").ok());
}

}  // namespace
}  // namespace potluck
