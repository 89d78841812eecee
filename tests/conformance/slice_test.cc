// Results that cannot be: each is refused by name, the job that they were meant for comes out exact all the same.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "kernels/nqueens/payload.h"
#include "proto/exchange_codec.h"
#include "proto/transport_settings.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

constexpr int kN = 10;

class SliceTest : public testing::Test {
 protected:
  SliceTest() : coordinator_(StartCoordinator()), admin_(coordinator_->admin_join_string()) {
    worker_join_ = coordinator_->worker_join_string();
    job_ = admin_.SubmitQueens(kN);
    size_ = admin_.Job(job_).size();
    worker_ = Newcomer("tester");
  }
  // Whatever a test sent: the job ends with the right counts, and so does another one.
  ~SliceTest() override {
    HandWorker finisher(worker_join_, "finisher");
    ExpectRightCounts(finisher.WorkUntilEnded(admin_, job_), kN);
    ExpectStillWorks(worker_join_, coordinator_->admin_join_string());
  }

  static std::unique_ptr<Coordinator> StartCoordinator() {
    CoordinatorOptions options;
    options.core.longest_hold = absl::Seconds(1);
    return Coordinator::Start(std::move(options)).value();
  }

  std::unique_ptr<HandWorker> Newcomer(const std::string& name) {
    auto worker = std::make_unique<HandWorker>(worker_join_, name);
    worker->LearnRound(job_);
    return worker;
  }

  // Three impossible slices are the end of a worker: each comes from another one.
  void ExpectInvalid(const v1::Slice& slice, const std::string& part) {
    const uint64_t committed = admin_.Job(job_).committed();
    const v1::SliceAnswer answer = HandWorker(worker_join_, "wrong" + std::to_string(++newcomers_)).Report(slice);
    EXPECT_EQ(answer.verdict(), v1::SliceAnswer::INVALID);
    EXPECT_NE(answer.message().find(part), std::string::npos) << answer.message();
    EXPECT_EQ(admin_.Job(job_).committed(), committed);
  }

  nqueens::Counts CountsOf(Interval interval) {
    return nqueens::DecodeCounts(worker_->ComputeSlice(job_, interval).payload()).value();
  }

  std::unique_ptr<Coordinator> coordinator_;
  const Caller admin_;
  std::string worker_join_;
  uint64_t job_ = 0;
  uint64_t size_ = 0;
  std::unique_ptr<HandWorker> worker_;
  int newcomers_ = 0;
};

TEST_F(SliceTest, OutsideItsRoundIsInvalid) {
  const std::string payload = worker_->ComputeSlice(job_, {0, 2}).payload();
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  for (const Interval interval :
       {Interval{size_, size_ + 2}, Interval{size_ - 1, size_ + 1}, Interval{0, kHuge}, Interval{kHuge - 2, kHuge},
        Interval{uint64_t{1} << 63, (uint64_t{1} << 63) + 2}, Interval{3, 3}}) {
    ExpectInvalid(MakeSlice(job_, interval, payload), "outside its round");
  }
}

TEST_F(SliceTest, EndingBeforeItBeginsRefusesTheWholeCall) {
  v1::ExchangeRequest request = worker_->NextRequest();
  *request.add_slices() = worker_->ComputeSlice(job_, {0, 2});
  *request.add_slices() = MakeSlice(job_, {9, 8}, "x");
  v1::ExchangeReply reply;
  const grpc::Status status = worker_->Exchange(request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("slice [9, 8) ends before it begins"), std::string::npos)
      << status.error_message();
  EXPECT_EQ(admin_.Job(job_).committed(), 0u);
}

TEST_F(SliceTest, OfARoundOrJobThatIsNotOpenIsClosed) {
  v1::Slice slice = worker_->ComputeSlice(job_, {0, 2});
  slice.mutable_round()->set_number(7);
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::CLOSED);
  slice.mutable_round()->set_number(0);
  slice.mutable_round()->set_job(4711);
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::CLOSED);
  slice.clear_round();
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::CLOSED);
}

TEST_F(SliceTest, TheSameAgainIsARepeatAndCountsOnce) {
  const v1::Slice slice = worker_->ComputeSlice(job_, {4, 8});
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::COMMITTED);
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::REPEAT);
  EXPECT_EQ(Newcomer("other")->Report(slice).verdict(), v1::SliceAnswer::REPEAT);
  EXPECT_EQ(admin_.Job(job_).committed(), 4u);
  EXPECT_EQ(admin_.Job(job_).disagreements(), 0u);
}

TEST_F(SliceTest, TwiceInOneCallCountsOnce) {
  v1::ExchangeRequest request = worker_->NextRequest();
  *request.add_slices() = worker_->ComputeSlice(job_, {4, 8});
  *request.add_slices() = worker_->ComputeSlice(job_, {4, 8});
  *request.add_slices() = worker_->ComputeSlice(job_, {6, 9});
  v1::ExchangeReply reply;
  ASSERT_TRUE(worker_->Exchange(request, &reply).ok());
  ASSERT_EQ(reply.answers_size(), 3);
  EXPECT_EQ(reply.answers(0).verdict(), v1::SliceAnswer::COMMITTED);
  EXPECT_EQ(reply.answers(1).verdict(), v1::SliceAnswer::REPEAT);
  EXPECT_EQ(reply.answers(2).verdict(), v1::SliceAnswer::OVERLAP);
  EXPECT_EQ(admin_.Job(job_).committed(), 4u);
}

TEST_F(SliceTest, OverlappingIsRefused) {
  EXPECT_EQ(worker_->Report(worker_->ComputeSlice(job_, {4, 8})).verdict(), v1::SliceAnswer::COMMITTED);
  for (const Interval interval : {Interval{3, 5}, Interval{7, 9}, Interval{5, 6}, Interval{0, 12}, Interval{4, 9}}) {
    EXPECT_EQ(worker_->Report(worker_->ComputeSlice(job_, interval)).verdict(), v1::SliceAnswer::OVERLAP)
        << ToString(interval);
  }
  EXPECT_EQ(worker_->Report(worker_->ComputeSlice(job_, {8, 9})).verdict(), v1::SliceAnswer::COMMITTED);
  EXPECT_EQ(admin_.Job(job_).committed(), 5u);
}

TEST_F(SliceTest, OfAnotherDigestIsADisagreementAndDoesNotCount) {
  EXPECT_EQ(worker_->Report(worker_->ComputeSlice(job_, {4, 8})).verdict(), v1::SliceAnswer::COMMITTED);
  nqueens::Counts other = CountsOf({4, 8});
  other.checksum += 1;
  const v1::Slice slice = MakeSlice(job_, {4, 8}, Encode(other));
  EXPECT_EQ(Newcomer("contrary")->Report(slice).verdict(), v1::SliceAnswer::DISAGREEMENT);
  EXPECT_EQ(admin_.Job(job_).committed(), 4u);
  EXPECT_EQ(admin_.Job(job_).disagreements(), 1u);
}

TEST_F(SliceTest, WhoseDigestIsNotOfItsPayloadIsInvalid) {
  v1::Slice slice = worker_->ComputeSlice(job_, {4, 8});
  const std::string digest = slice.digest();
  for (const std::string& wrong : {std::string(), std::string("short"), std::string(32, '\0'), digest + "x"}) {
    slice.set_digest(wrong);
    ExpectInvalid(slice, "digest of slice [4, 8)");
  }
  slice.set_digest(digest);
  slice.mutable_payload()->back() ^= 1;
  ExpectInvalid(slice, "is not the SHA-256 of its payload");
}

// A prefix of depth d holds at most (n-d)! solutions, and each index stands for a prefix and its mirror image.
TEST_F(SliceTest, WithMoreSolutionsThanItsPrefixesCanHoldIsInvalid) {
  const nqueens::Spec spec = nqueens::DecodeSpec(worker_->round_payload(job_)).value();
  ASSERT_GT(spec.depth, 0u);
  uint64_t bound = 1;
  for (uint64_t k = 2; k <= spec.n - spec.depth; ++k) bound *= k;
  constexpr uint64_t kRanks = 4;
  // Nodes are bounded too, by the sum of (n-d)!/k!; here they are as many as allowed, so that they do not get in the
  // way.
  uint64_t nodes = 0;
  for (uint64_t k = 0, term = bound; k <= spec.n - spec.depth; ++k) {
    nodes += term;
    term /= k + 1;
  }
  nqueens::Counts counts;
  counts.visited = Count128(kRanks * nodes);
  counts.nodes = Count128(2 * kRanks * nodes);
  counts.solutions = Count128(2 * kRanks * bound + 2);
  ExpectInvalid(MakeSlice(job_, {4, 4 + kRanks}, Encode(counts)), "solutions");
  counts.solutions = Count128::Max();
  ExpectInvalid(MakeSlice(job_, {4, 4 + kRanks}, Encode(counts)), "solutions");
  counts.solutions = Count128(0);
  counts.visited = Count128(kRanks * nodes + 1);
  counts.nodes = Count128(2 * kRanks * nodes + 2);
  ExpectInvalid(MakeSlice(job_, {4, 4 + kRanks}, Encode(counts)), "visited");
  counts.visited = Count128(kRanks - 1);
  ExpectInvalid(MakeSlice(job_, {4, 4 + kRanks}, Encode(counts)), "visited");
}

TEST_F(SliceTest, WithCountsThatDoNotFitEachOtherIsInvalid) {
  const nqueens::Counts right = CountsOf({4, 8});
  nqueens::Counts wrong = right;
  ASSERT_TRUE(wrong.nodes.Add(Count128(1)));
  ExpectInvalid(MakeSlice(job_, {4, 8}, Encode(wrong)), "nodes");
  wrong = right;
  ASSERT_TRUE(wrong.solutions.Add(Count128(1)));
  ExpectInvalid(MakeSlice(job_, {4, 8}, Encode(wrong)), "solutions");
}

TEST_F(SliceTest, WhosePayloadCannotBeReadIsInvalid) {
  for (const std::string& payload :
       {std::string(), std::string("garbage"), std::string(1000, '\xff'), std::string(kMaxSliceBytes, '\0')}) {
    ExpectInvalid(MakeSlice(job_, {4, 8}, payload), "");
  }
}

TEST_F(SliceTest, OverOneMebibyteRefusesTheCall) {
  v1::ExchangeRequest request = worker_->NextRequest();
  *request.add_slices() = MakeSlice(job_, {4, 8}, std::string(kMaxSliceBytes + 1, 'x'));
  v1::ExchangeReply reply;
  const grpc::Status status = worker_->Exchange(request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("slice [4, 8) has 1048577 bytes; allowed are 1048576"), std::string::npos)
      << status.error_message();
}

TEST_F(SliceTest, InAMessageOverTheSizeLimitRefusesTheCall) {
  v1::ExchangeRequest request = worker_->NextRequest();
  for (int i = 0; i < 5; ++i) *request.add_slices() = MakeSlice(job_, {4, 8}, std::string(kMaxSliceBytes, 'x'));
  ASSERT_GT(request.ByteSizeLong(), size_t{kMaxMessageBytes});
  v1::ExchangeReply reply;
  const grpc::Status status = worker_->Exchange(request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  v1::SubmitRequest submit;
  submit.set_request_id("much-too-long");
  submit.set_workload("nqueens");
  submit.set_spec(std::string(kMaxMessageBytes + 1, 'x'));
  v1::SubmitReply submitted;
  EXPECT_EQ(admin_.Call(&v1::Jobs::StubInterface::Submit, submit, &submitted).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  submit.set_spec(std::string((1 << 20) + 1, 'x'));
  EXPECT_EQ(admin_.Call(&v1::Jobs::StubInterface::Submit, submit, &submitted).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  // The session goes on.
  EXPECT_EQ(worker_->Report(worker_->ComputeSlice(job_, {0, 2})).verdict(), v1::SliceAnswer::COMMITTED);
}

TEST_F(SliceTest, ThreeTimesImpossibleQuarantinesTheWorkerOnly) {
  const v1::Slice impossible = MakeSlice(job_, {4, 8}, "garbage");
  EXPECT_EQ(worker_->Report(impossible).verdict(), v1::SliceAnswer::INVALID);
  EXPECT_EQ(worker_->Report(impossible).verdict(), v1::SliceAnswer::INVALID);
  v1::ExchangeRequest request = worker_->NextRequest();
  *request.add_slices() = impossible;
  v1::ExchangeReply reply;
  EXPECT_EQ(worker_->Exchange(request, &reply).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  v1::JoinReply joined;
  ASSERT_TRUE(worker_->caller().Join(SoundJoin("tester"), &joined).ok());
  EXPECT_EQ(joined.refused().reason(), v1::Refusal::QUARANTINED);
  EXPECT_NE(joined.refused().message().find("tester"), std::string::npos) << joined.refused().message();
}

TEST_F(SliceTest, OfAJobThatIsCancelledMeanwhileIsClosed) {
  const uint64_t other = admin_.SubmitQueens(9);
  v1::JobRef ref;
  ref.set_job(other);
  v1::Empty empty;
  ASSERT_TRUE(admin_.Call(&v1::Jobs::StubInterface::Cancel, ref, &empty).ok());
  v1::Slice slice = worker_->ComputeSlice(job_, {0, 2});
  slice.mutable_round()->set_job(other);
  EXPECT_EQ(worker_->Report(slice).verdict(), v1::SliceAnswer::CLOSED);
  EXPECT_EQ(admin_.Job(other).state(), v1::JobStatus::CANCELLED);
}

}  // namespace
}  // namespace potluck
