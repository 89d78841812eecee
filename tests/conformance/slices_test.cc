// Jobs.Slices: what a job's result is made of, for those who may look.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/nqueens/payload.h"
#include "proto/versions.h"
#include "tests/bad_input/program.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

using grpc::StatusCode;
using Jobs = v1::Jobs::StubInterface;

constexpr size_t kMiB = size_t{1} << 20;

class SlicesTest : public testing::Test {
 protected:
  static std::unique_ptr<Coordinator> Start(const std::string& state) {
    CoordinatorOptions options;
    options.state_directory = state;
    options.core.longest_hold = absl::Seconds(1);
    return Coordinator::Start(std::move(options)).value();
  }

  SlicesTest() : coordinator_(Start("")), admin_(coordinator_->admin_join_string()) {}

  std::vector<v1::SlicesReply> Read(uint64_t job) { return Read(admin_, job); }
  static std::vector<v1::SlicesReply> Read(const Caller& caller, uint64_t job) {
    std::vector<v1::SlicesReply> replies;
    const grpc::Status status = caller.Slices(job, &replies);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_FALSE(replies.empty());
    if (replies.empty()) replies.emplace_back();
    for (size_t i = 0; i < replies.size(); ++i) {
      EXPECT_EQ(replies[i].has_job(), i == 0);
      EXPECT_EQ(replies[i].slices().empty(), i == 0);
      EXPECT_LT(replies[i].ByteSizeLong(), kMiB);
    }
    return replies;
  }
  static std::vector<v1::StoredSlice> SlicesOf(const std::vector<v1::SlicesReply>& replies) {
    std::vector<v1::StoredSlice> slices;
    for (const v1::SlicesReply& reply : replies)
      slices.insert(slices.end(), reply.slices().begin(), reply.slices().end());
    return slices;
  }
  static StatusCode CodeOf(const Caller& caller, uint64_t job) {
    std::vector<v1::SlicesReply> replies;
    const StatusCode code = caller.Slices(job, &replies).error_code();
    EXPECT_TRUE(replies.empty());
    return code;
  }
  // They cover the round and add up to the job's result.
  static void ExpectWhole(const std::vector<v1::SlicesReply>& replies, int n) {
    const v1::JobStatus& job = replies[0].job();
    ExpectRightCounts(job, n);
    uint64_t position = 0;
    Count128 solutions;
    for (const v1::StoredSlice& slice : SlicesOf(replies)) {
      EXPECT_EQ(slice.begin(), position);
      position = slice.end();
      EXPECT_TRUE(solutions.Add(nqueens::DecodeCounts(slice.payload()).value().solutions));
    }
    EXPECT_EQ(position, job.size());
    EXPECT_EQ(solutions, nqueens::DecodeCounts(job.summary()).value().solutions);
  }

  std::unique_ptr<Coordinator> coordinator_;
  const Caller admin_;
};

TEST_F(SlicesTest, AnEndedJobIsToldWhole) {
  const uint64_t job = admin_.SubmitQueens(10);
  HandWorker(coordinator_->worker_join_string(), "lab").WorkUntilEnded(admin_, job);
  const std::vector<v1::SlicesReply> replies = Read(job);
  ExpectWhole(replies, 10);
  EXPECT_EQ(replies[0].coordinator_version(), kVersion);
  EXPECT_EQ(replies[0].job().job(), job);
  EXPECT_GT(replies[0].job().ended_unix_ms(), 0);
  const v1::StoredSlice slice = SlicesOf(replies).at(0);
  EXPECT_EQ(slice.worker(), "lab");
  EXPECT_EQ(slice.worker_version(), kVersion);
  EXPECT_EQ(slice.worker_devices(), "cpu");
  EXPECT_EQ(slice.verified_by(), "");
  EXPECT_GE(slice.stored_unix_ms(), replies[0].job().submitted_unix_ms());
}

TEST_F(SlicesTest, ARunningJobIsToldAsFarAsItIs) {
  const uint64_t job = admin_.SubmitQueens(10);
  HandWorker worker(coordinator_->worker_join_string(), "lab");
  worker.LearnRound(job);
  EXPECT_TRUE(SlicesOf(Read(job)).empty());
  for (const uint64_t begin : {11, 0}) {
    EXPECT_EQ(worker.Report(worker.ComputeSlice(job, {begin, begin + 3})).verdict(), v1::SliceAnswer::COMMITTED);
  }
  const std::vector<v1::SlicesReply> replies = Read(job);
  EXPECT_EQ(replies[0].job().state(), v1::JobStatus::RUNNING);
  const std::vector<v1::StoredSlice> slices = SlicesOf(replies);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].begin(), 0u);
  EXPECT_EQ(slices[1].begin(), 11u);
  EXPECT_EQ(slices[1].payload(), worker.ComputeSlice(job, {11, 14}).payload());
}

TEST_F(SlicesTest, ThousandsComeInMessagesOfLessThanOneMebibyte) {
  const uint64_t job = admin_.SubmitQueens(14);
  const uint64_t count = std::min<uint64_t>(admin_.Job(job).size(), 10'000);
  ASSERT_GT(count, 5'000u);
  HandWorker worker(coordinator_->worker_join_string(), std::string(60, 'w'));
  worker.LearnRound(job);
  nqueens::Counts possible;  // Of one rank, as far as anybody can see.
  possible.visited = 11;
  possible.nodes = 22;
  for (uint64_t rank = 0; rank < count;) {
    v1::ExchangeRequest request = worker.NextRequest();
    for (int i = 0; i < 1000 && rank < count; ++i, ++rank) {
      possible.checksum = rank + 1;
      *request.add_slices() = MakeSlice(job, {rank, rank + 1}, Encode(possible));
    }
    v1::ExchangeReply reply;
    ASSERT_TRUE(worker.Exchange(request, &reply).ok());
  }
  ASSERT_EQ(admin_.Job(job).committed(), count);
  const std::vector<v1::SlicesReply> replies = Read(job);
  EXPECT_GT(replies.size(), 2u);
  const std::vector<v1::StoredSlice> slices = SlicesOf(replies);
  ASSERT_EQ(slices.size(), count);
  for (uint64_t rank = 0; rank < count; ++rank) {
    ASSERT_EQ(slices[rank].begin(), rank);
    ASSERT_EQ(nqueens::DecodeCounts(slices[rank].payload()).value().checksum, rank + 1);
  }
}

TEST_F(SlicesTest, WhoseJobAndWhoMayLook) {
  const uint64_t job = admin_.SubmitQueens(8);
  EXPECT_EQ(CodeOf(admin_, 4711), StatusCode::NOT_FOUND);
  EXPECT_EQ(CodeOf(Caller(coordinator_->worker_join_string()), job), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(CodeOf(Caller(coordinator_->admin_join_string(), "nonsense"), job), StatusCode::UNAUTHENTICATED);
  const Caller viewer(admin_.NewJoinString(v1::TOKEN_ROLE_VIEWER, "guest"));
  EXPECT_EQ(Read(viewer, job)[0].job().job(), job);
}

TEST_F(SlicesTest, ADeletedJobIsGone) {
  const uint64_t job = admin_.SubmitQueens(8);
  HandWorker(coordinator_->worker_join_string(), "lab").WorkUntilEnded(admin_, job);
  v1::JobRef ref;
  ref.set_job(job);
  v1::Empty empty;
  ASSERT_TRUE(admin_.Call(&Jobs::Delete, ref, &empty).ok());
  EXPECT_EQ(CodeOf(admin_, job), StatusCode::NOT_FOUND);
}

TEST_F(SlicesTest, AfterARestartWorkersAreWhatTheyWereThen) {
  const TemporaryDirectory directory;
  std::unique_ptr<Coordinator> coordinator = Start(directory / "state");
  uint64_t job = 0;
  {
    const Caller admin(coordinator->admin_join_string());
    job = admin.SubmitQueens(10);
    HandWorker(coordinator->worker_join_string(), "lab").WorkUntilEnded(admin, job);
    // The same installation comes again as another version, under another name.
    v1::JoinRequest request = SoundJoin("lab");
    request.set_name("laboratory");
    request.set_version("99.0");
    v1::JoinReply reply;
    ASSERT_TRUE(Caller(coordinator->worker_join_string()).Join(request, &reply).ok());
    ASSERT_TRUE(reply.has_joined());
  }
  coordinator.reset();
  coordinator = Start(directory / "state");
  const Caller admin(coordinator->admin_join_string());
  const std::vector<v1::SlicesReply> replies = Read(admin, job);
  ExpectWhole(replies, 10);
  for (const v1::StoredSlice& slice : SlicesOf(replies)) {
    EXPECT_EQ(slice.worker(), "lab");
    EXPECT_EQ(slice.worker_version(), kVersion);
  }
}

}  // namespace
}  // namespace potluck
