// Sequence numbers, held calls and sessions, as proto/workers.proto promises them.
#include <gtest/gtest.h>

#include <future>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

constexpr absl::Duration kHold = absl::Seconds(20);

class ExchangeTest : public testing::Test {
 protected:
  ExchangeTest() {
    CoordinatorOptions options;
    options.core.longest_hold = kHold;
    coordinator_ = Coordinator::Start(std::move(options)).value();
    worker_join_ = coordinator_->worker_join_string();
    admin_join_ = coordinator_->admin_join_string();
  }
  // After whatever a test did.
  ~ExchangeTest() override { ExpectStillWorks(worker_join_, admin_join_); }

  using Answer = std::pair<grpc::Status, v1::ExchangeReply>;
  // The call in a thread of its own, once the coordinator has taken it in.
  std::future<Answer> Held(const HandWorker& worker, const std::string& name, v1::ExchangeRequest request) {
    request.set_no_wait(false);
    const absl::Time start = absl::Now();
    std::future<Answer> answer = std::async(std::launch::async, [&worker, request] {
      Answer result;
      result.first = worker.Exchange(request, &result.second);
      return result;
    });
    const Caller admin(admin_join_);
    for (bool heard = false; !heard && absl::Now() < start + absl::Seconds(20);) {
      const absl::Time asked = absl::Now();
      const v1::ListWorkersReply workers = admin.Workers();
      for (const v1::WorkerStatus& status : workers.workers()) {
        heard |= status.name() == name && absl::Seconds(status.seconds_since_heard()) <= asked - start;
      }
    }
    return answer;
  }

  std::unique_ptr<Coordinator> coordinator_;
  std::string worker_join_, admin_join_;
};

TEST_F(ExchangeTest, TheSameSeqGetsTheStoredAnswerToTheByte) {
  const Caller admin(admin_join_);
  const uint64_t job = admin.SubmitQueens(10);
  HandWorker worker(worker_join_, "again");
  worker.LearnRound(job);
  v1::ExchangeRequest request = worker.NextRequest();
  request.add_free_capacity(1);
  *request.add_slices() = worker.ComputeSlice(job, {0, 2});
  v1::ExchangeReply first;
  ASSERT_TRUE(worker.Exchange(request, &first).ok());
  EXPECT_EQ(first.answers(0).verdict(), v1::SliceAnswer::COMMITTED);
  EXPECT_EQ(first.granted_size(), 1);
  for (int i = 0; i < 3; ++i) {
    v1::ExchangeReply again;
    ASSERT_TRUE(worker.Exchange(request, &again).ok());
    EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  }
  EXPECT_EQ(admin.Job(job).committed(), 2u);
  ExpectRightCounts(worker.WorkUntilEnded(admin, job), 10);
}

TEST_F(ExchangeTest, AnOlderSeqIsRefused) {
  HandWorker worker(worker_join_, "late");
  const v1::ExchangeRequest old = worker.NextRequest();
  v1::ExchangeReply reply;
  ASSERT_TRUE(worker.Exchange(old, &reply).ok());
  ASSERT_TRUE(worker.Exchange(worker.NextRequest(), &reply).ok());
  const grpc::Status status = worker.Exchange(old, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(status.error_message().find("seq 1 is older than 2"), std::string::npos) << status.error_message();
}

TEST_F(ExchangeTest, ANewerCallCancelsTheHeldOne) {
  HandWorker worker(worker_join_, "eager");
  std::future<Answer> held = Held(worker, "eager", worker.NextRequest());
  v1::ExchangeReply reply;
  EXPECT_TRUE(worker.Exchange(worker.NextRequest(), &reply).ok());
  EXPECT_EQ(reply.seq(), 2u);
  const Answer answer = held.get();
  EXPECT_EQ(answer.first.error_code(), grpc::StatusCode::CANCELLED) << answer.first.error_message();
}

TEST_F(ExchangeTest, TheSameSeqTakesOverAHeldCall) {
  HandWorker worker(worker_join_, "twin");
  v1::ExchangeRequest request = worker.NextRequest();
  request.add_free_capacity(1);
  std::future<Answer> first = Held(worker, "twin", request);
  std::future<Answer> second = Held(worker, "twin", request);
  EXPECT_EQ(first.get().first.error_code(), grpc::StatusCode::CANCELLED);
  Caller(admin_join_).SubmitQueens(9);
  const Answer answer = second.get();
  EXPECT_TRUE(answer.first.ok()) << answer.first.error_message();
  EXPECT_EQ(answer.second.granted_size(), 1);
  v1::ExchangeReply reply;
  EXPECT_TRUE(worker.Exchange(worker.NextRequest(), &reply).ok());
}

TEST_F(ExchangeTest, AHeldCallIsReleasedWhenWorkAppears) {
  const Caller admin(admin_join_);
  HandWorker worker(worker_join_, "hungry");
  v1::ExchangeRequest request = worker.NextRequest();
  request.add_free_capacity(1);
  std::future<Answer> held = Held(worker, "hungry", request);
  const absl::Time start = absl::Now();
  const uint64_t job = admin.SubmitQueens(10);
  const Answer answer = held.get();
  EXPECT_LT(absl::Now() - start, kHold / 2);
  EXPECT_TRUE(answer.first.ok()) << answer.first.error_message();
  ASSERT_EQ(answer.second.granted_size(), 1);
  EXPECT_EQ(answer.second.granted(0).round().job(), job);
  ASSERT_EQ(answer.second.rounds_size(), 1);
  EXPECT_EQ(answer.second.rounds(0).workload(), "nqueens");
  v1::ExchangeReply reply;
  EXPECT_TRUE(worker.Exchange(worker.NextRequest(), &reply).ok());  // Hands it back.
}

TEST_F(ExchangeTest, AHeldCallIsReleasedWhenItsWorkerShallDrain) {
  HandWorker worker(worker_join_, "leaver");
  std::future<Answer> held = Held(worker, "leaver", worker.NextRequest());
  v1::DrainWorkerRequest drain;
  drain.set_name("leaver");
  v1::Empty empty;
  EXPECT_TRUE(Caller(admin_join_).Call(&v1::Jobs::StubInterface::DrainWorker, drain, &empty).ok());
  const Answer answer = held.get();
  EXPECT_TRUE(answer.first.ok()) << answer.first.error_message();
  EXPECT_TRUE(answer.second.drain());
}

TEST_F(ExchangeTest, ANewJoinOfTheSameInstallationEndsTheFormerSession) {
  HandWorker former(worker_join_, "double");
  std::future<Answer> held = Held(former, "double", former.NextRequest());
  const HandWorker latter(worker_join_, "double");
  EXPECT_NE(former.session(), latter.session());
  EXPECT_EQ(held.get().first.error_code(), grpc::StatusCode::ABORTED);
  v1::ExchangeReply reply;
  EXPECT_EQ(former.Exchange(former.NextRequest(), &reply).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ExchangeTest, AnUnknownSessionIsNotFound) {
  for (const uint64_t session : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    v1::ExchangeRequest request;
    request.set_session(session);
    request.set_seq(1);
    v1::ExchangeReply reply;
    const grpc::Status status = Caller(worker_join_).Exchange(request, &reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_NE(status.error_message().find("join again"), std::string::npos) << status.error_message();
  }
}

TEST_F(ExchangeTest, LeasesAndSlotsThatDoNotExistAreHarmless) {
  const Caller admin(admin_join_);
  const uint64_t job = admin.SubmitQueens(10);
  HandWorker worker(worker_join_, "odd");
  worker.LearnRound(job);
  v1::ExchangeRequest request = worker.NextRequest();
  for (int slot = 0; slot < 1000; ++slot) request.add_free_capacity(4'000'000'000u);
  for (const uint64_t counter : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
    v1::HeldLease* held = request.add_held();
    held->mutable_lease()->set_epoch(counter);
    held->mutable_lease()->set_counter(counter);
    held->mutable_round()->set_job(job + counter);
    held->set_slot(4'000'000'000u);
    held->set_begin(0);
    held->set_end(~uint64_t{0});
    held->set_shrunk_to(0);
  }
  v1::ExchangeReply reply;
  EXPECT_TRUE(worker.Exchange(request, &reply).ok());
  // A slice that says it comes from such a slot, in no time or in a time that is no number, is a result all the same.
  uint64_t begin = 0;
  for (const double busy :
       {0.0, -1.0, 1e300, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    v1::Slice slice = worker.ComputeSlice(job, {begin, begin + 1});
    slice.set_slot(4'000'000'000u);
    slice.set_busy_seconds(busy);
    EXPECT_EQ(worker.Report(slice).verdict(), v1::SliceAnswer::COMMITTED);
    slice = worker.ComputeSlice(job, {begin + 1, begin + 2});
    slice.set_busy_seconds(busy);
    EXPECT_EQ(worker.Report(slice).verdict(), v1::SliceAnswer::COMMITTED);
    begin += 2;
  }
  request = worker.NextRequest();
  v1::HeldLease* held = request.add_held();
  held->set_begin(5);
  held->set_end(4);
  EXPECT_EQ(worker.Exchange(request, &reply).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ExpectRightCounts(worker.WorkUntilEnded(admin, job), 10);
}

}  // namespace
}  // namespace potluck
