#include "cli/local_workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/notification.h"

namespace potluck {
namespace {

TEST(LocalWorkersTest, WithoutAGpuOneWorkerHasAllCores) {
  EXPECT_EQ(PlanLocalWorkers({}, {}, {}, 8),
            (std::vector<LocalWorkerPlan>{{.device = "cpu", .gpu = {}, .threads = 8}}));
}

TEST(LocalWorkersTest, CoresAreDividedAmongTheWorkersOnTheCpu) {
  for (const LocalWorkerPlan& plan : PlanLocalWorkers(3, {}, {}, 8)) {
    EXPECT_EQ(plan, (LocalWorkerPlan{.device = "cpu", .gpu = {}, .threads = 2}));
  }
  EXPECT_EQ(PlanLocalWorkers(4, {}, {}, 2)[3].threads, 1);
  EXPECT_EQ(PlanLocalWorkers(4, 5, {}, 2)[3].threads, 5);
}

TEST(LocalWorkersTest, EachGpuGetsAWorkerAndMoreComputeOnTheCpu) {
  EXPECT_EQ(PlanLocalWorkers({}, {}, {0, 2}, 8),
            (std::vector<LocalWorkerPlan>{{.device = "cuda", .gpu = 0, .threads = 8},
                                          {.device = "cuda", .gpu = 2, .threads = 8}}));
  const std::vector<LocalWorkerPlan> plans = PlanLocalWorkers(3, {}, {0}, 8);
  EXPECT_EQ(plans[0].device, "cuda");
  EXPECT_EQ(plans[2], (LocalWorkerPlan{.device = "cpu", .gpu = {}, .threads = 4}));
}

TEST(LocalWorkersTest, ASingleWorkerTakesEveryDevice) {
  EXPECT_EQ(PlanLocalWorkers(1, {}, {0, 1}, 8)[0].device, "auto");
}

TEST(LocalWorkersTest, WorkersThatNeverComeUpAreGivenUpWithASentence) {
  Notification given_up;
  absl::Status reason;
  LocalWorkersOptions options;
  options.program = "/nonexistent/potluck";
  options.workers = PlanLocalWorkers(1, {}, {}, 1);
  options.give_up = [&](absl::Status status) {
    reason = std::move(status);
    given_up.Notify();
  };
  const LocalWorkers workers(std::move(options));
  ASSERT_TRUE(given_up.WaitForNotificationWithTimeout(absl::Seconds(60)));
  EXPECT_THAT(std::string(reason.message()), testing::HasSubstr("no local worker can be kept running: local-1"));
  EXPECT_THAT(std::string(reason.message()), testing::HasSubstr("/nonexistent/potluck"));
}

}  // namespace
}  // namespace potluck
