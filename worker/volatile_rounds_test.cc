// Whole workers and the real coordinator: volatile rounds whose data and results are large.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "coordinator/coordinator.h"
#include "proto/jobs.grpc.pb.h"
#include "proto/join_string.h"
#include "worker/transport.h"
#include "worker/worker_testing.h"

namespace potluck {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(100);
// As many as workers; each index is a unit of its own.
class FlatPlan final : public RoundPlan {
 public:
  explicit FlatPlan(uint64_t size) : size_(size) {}
  uint64_t Size() const override { return size_; }
  double Cost(Interval interval) const override { return static_cast<double>(interval.size()); }
  uint64_t Cut(Interval within, double) const override { return within.begin + 1; }
  double ProbeCost() const override { return 1; }
  Sharing sharing() const override { return Sharing::kEven; }

 private:
  const uint64_t size_;
};

// Rounds of one index by the FakeRunner of executor_test_child.cc, which sends the round's bulk data back; each round's
// are those of the last one with the round's number in front.
class EchoPlanner final : public Planner {
 public:
  EchoPlanner(uint32_t rounds, size_t bytes) : rounds_(rounds) {
    std::mt19937_64 random(1);
    while (state_.size() < bytes) {
      const uint64_t value = random();
      state_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    state_.resize(bytes);
  }
  Result<std::optional<Round>> NextRound(double) override {
    if (round_ == rounds_) return std::optional<Round>();
    state_.replace(0, 8, absl::StrCat(absl::Dec(round_, absl::kZeroPad8)));
    Round round;
    round.number = round_++;
    round.durability = Durability::kVolatile;
    round.plan = std::make_shared<FlatPlan>(1);
    round.payload = "echo:0";
    sent_ = SharedBytes(state_);
    round.bulk = {sent_};
    round.max_result_bytes = state_.size();
    round.is_exact = false;
    return std::optional<Round>(std::move(round));
  }
  Status Check(Interval, std::string_view payload) const override {
    return payload == sent_.view() ? Status() : Status::Error("It is not what was sent.");
  }
  Status Merge(Interval, std::string payload) override {
    state_ = std::move(payload);
    return Status();
  }
  Result<std::string> Combine(std::span<const Part> parts) const override { return parts[0].payload; }
  void ResetRound() override {}
  std::vector<SharedBytes> State() const override { return {SharedBytes(absl::StrCat(round_))}; }
  Status Restore(std::string_view) override { return Status::Error("It cannot be restored."); }
  std::string Summary() const override { return absl::StrCat(round_); }

 private:
  const uint32_t rounds_;
  uint32_t round_ = 0;
  std::string state_;
  SharedBytes sent_;
};

class VolatileRoundsTest : public ::testing::Test {
 protected:
  void Start(uint32_t rounds, size_t bytes, int workers, const std::string& shared = "") {
    CoordinatorOptions options;
    options.shared_folder = shared;
    options.planners = [=](const std::string&, const std::string&,
                           const BlobReader&) -> Result<std::unique_ptr<Planner>> {
      return std::unique_ptr<Planner>(std::make_unique<EchoPlanner>(rounds, bytes));
    };
    absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(std::move(options));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    const JoinString join = *ParseJoinString(coordinator_->worker_join_string());
    for (int i = 0; i < workers; ++i) workers_.Start(absl::StrCat("worker-", i), join, shared);
    coordinator_->WaitForWorkers(static_cast<size_t>(workers), kPatience);
  }
  // Submits, and waits for the end.
  v1::JobStatus RunJob() {
    const JoinString join = *ParseJoinString(coordinator_->admin_join_string());
    const std::unique_ptr<v1::Jobs::Stub> jobs = v1::Jobs::NewStub(Connect(join)->channel);
    v1::SubmitRequest request;
    request.set_request_id("the only one");
    request.set_workload("fake");
    request.set_spec("spec");
    v1::SubmitReply submitted;
    grpc::ClientContext context;
    Authorize(context, join.token);
    const grpc::Status status = jobs->Submit(&context, request, &submitted);
    EXPECT_TRUE(status.ok()) << status.error_message();
    grpc::ClientContext watch_context;
    Authorize(watch_context, join.token);
    watch_context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    v1::WatchRequest job;
    job.set_job(submitted.job());
    const auto watch = jobs->Watch(&watch_context, job);
    v1::JobStatus last;
    for (v1::JobStatus next; watch->Read(&next);) last = next;
    EXPECT_TRUE(watch->Finish().ok());
    return last;
  }

  std::unique_ptr<Coordinator> coordinator_;
  RunningWorkers workers_;
};

TEST_F(VolatileRoundsTest, LargeDataAndResultsGoThereAndBackRoundByRound) {
  constexpr size_t kSize = 5 * (size_t{1} << 20) / 2;
  Start(20, kSize, 2);
  const v1::JobStatus job = RunJob();
  EXPECT_EQ(job.state(), v1::JobStatus::DONE) << job.DebugString();
  EXPECT_EQ(job.summary(), "20");
  uint64_t sent = 0, received = 0;
  for (const v1::Contribution& contribution : job.contributions()) {
    sent += contribution.bytes_sent();
    received += contribution.bytes_received();
  }
  EXPECT_EQ(sent, 20 * kSize);
  EXPECT_GE(received, 20 * kSize);
  EXPECT_THAT(workers_.said(), ::testing::Not(::testing::Contains(::testing::HasSubstr("handed over"))));
}

TEST_F(VolatileRoundsTest, OnOneMachineTheyGoThroughASharedFolder) {
  constexpr size_t kSize = 5 * (size_t{1} << 20) / 2;
  const std::string shared = workers_.directory() + "/shared";
  std::filesystem::create_directory(shared);
  Start(20, kSize, 2, shared);
  const v1::JobStatus job = RunJob();
  EXPECT_EQ(job.state(), v1::JobStatus::DONE) << job.DebugString();
  EXPECT_EQ(job.summary(), "20");
  uint64_t sent = 0;
  for (const v1::Contribution& contribution : job.contributions()) sent += contribution.bytes_sent();
  EXPECT_EQ(sent, 20 * kSize);
  workers_.Stop();  // The last answer may have been on its way to them.
  // What the last round read is still there, for as long as the coordinator's owner likes; of the workers' nothing is.
  size_t bulk_files = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(shared)) {
    EXPECT_TRUE(absl::StartsWith(file.path().filename().string(), "bulk-")) << file.path();
    ++bulk_files;
  }
  EXPECT_EQ(bulk_files, 1u);
}

// Not a test: what a step costs beside its computing. --gtest_also_run_disabled_tests --gtest_filter=Volatile*Figures
TEST_F(VolatileRoundsTest, DISABLED_Figures) {
  constexpr int kSteps = 200;
  constexpr size_t kSize = 4'799'528;  // The paper's network.
  Start(kSteps, kSize, 1);
  const absl::Time start = AwakeNow();
  EXPECT_EQ(RunJob().state(), v1::JobStatus::DONE);
  std::printf("%zu bytes each way: %.1f ms a step\n", kSize, absl::ToDoubleMilliseconds(AwakeNow() - start) / kSteps);
}

}  // namespace
}  // namespace potluck
