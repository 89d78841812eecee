// A whole worker, executor and all, at the table of a coordinator that only knows one row of volatile rounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "base/clock.h"
#include "base/notification.h"
#include "worker/transfers_testing.h"
#include "worker/worker_testing.h"

namespace potluck {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr uint64_t kEpoch = 5;

// Rounds of one index, one after the other, each with a blob of its own: the payload and what comes back are the
// FakeRunner's of executor_test_child.cc. Each is granted as one lease.
class Rounds final : public FakeWorkers {
 public:
  // The rounds' payload and, by round, their blobs; a held call is answered when there is something to say.
  void Begin(const std::string& payload, std::vector<std::string> digests) {
    MutexLock lock(&mutex_);
    payload_ = payload;
    digests_ = std::move(digests);
    changed_.SignalAll();
  }
  // Looks at each Exchange first; what it returns ends it unless it is OK.
  using Judge = std::function<grpc::Status(const v1::ExchangeRequest& request, v1::SliceAnswer::Verdict* verdict)>;
  void SetJudge(Judge judge) {
    MutexLock lock(&mutex_);
    judge_ = std::move(judge);
  }
  // Until that many rounds are done, or a line was said that begins so; false when neither comes.
  bool WaitForRounds(size_t count) {
    return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return round_ >= count; });
  }
  bool WaitForLine(const std::string& line) {
    return WaitUntil(
        [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return std::find(lines_.begin(), lines_.end(), line) != lines_.end(); });
  }
  // What happened: "join", "grant 5.1", "slice 5.1 is put", "back 5.1".
  std::vector<std::string> lines() {
    MutexLock lock(&mutex_);
    return lines_;
  }
  std::string numerics_class() {
    MutexLock lock(&mutex_);
    return numerics_class_;
  }

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::JoinReply* reply) override {
    MutexLock lock(&mutex_);
    lines_.emplace_back("join");
    numerics_class_ = request->devices(0).numerics_class();
    reply->mutable_joined()->set_session(++session_);
    reply->mutable_joined()->set_longest_hold_ms(20'000);
    lease_ = seq_ = 0;  // Of another session.
    changed_.SignalAll();
    return grpc::Status::OK;
  }

  grpc::Status Exchange(grpc::ServerContext* context, const v1::ExchangeRequest* request,
                        v1::ExchangeReply* reply) override {
    MutexLock lock(&mutex_);
    reply->set_seq(request->seq());
    v1::SliceAnswer::Verdict verdict = v1::SliceAnswer::COMMITTED;
    if (request->session() != session_) return {grpc::StatusCode::NOT_FOUND, "join again"};
    // Its thread was late: the worker has called again since, and goes by that answer.
    if (request->seq() < seq_) return {grpc::StatusCode::CANCELLED, "overtaken"};
    if (judge_) {
      if (const grpc::Status status = judge_(*request, &verdict); !status.ok()) return status;
    }
    for (const v1::Slice& slice : request->slices()) {
      lines_.push_back(
          absl::StrCat("slice ", slice.lease().epoch(), ".", slice.lease().counter(), slice.is_put() ? " is put" : ""));
      reply->add_answers()->set_verdict(verdict);
      if (verdict != v1::SliceAnswer::COMMITTED) continue;
      ++round_;
      lease_ = 0;
    }
    bool is_held = false;
    for (const v1::HeldLease& held : request->held()) is_held = is_held || held.lease().counter() == lease_;
    if (lease_ != 0 && !is_held && request->slices().empty()) {
      lines_.push_back(absl::StrCat("back ", kEpoch, ".", lease_));
      lease_ = 0;
    }
    seq_ = request->seq();
    changed_.SignalAll();
    const absl::Time until = AwakeNow() + absl::Seconds(20);
    while (reply->answers().empty() && !request->no_wait() && AwakeNow() < until && seq_ == request->seq() &&
           !context->IsCancelled() && (lease_ != 0 || round_ >= digests_.size() || request->free_capacity(0) == 0)) {
      changed_.WaitFor(&mutex_, absl::Milliseconds(5));
    }
    if (seq_ != request->seq()) return {grpc::StatusCode::CANCELLED, "overtaken"};
    if (lease_ != 0 || round_ >= digests_.size() || request->free_capacity(0) == 0) return grpc::Status::OK;
    lease_ = ++leases_;
    lines_.push_back(absl::StrCat("grant ", kEpoch, ".", lease_));
    v1::Grant* const grant = reply->add_granted();
    grant->mutable_lease()->set_epoch(kEpoch);
    grant->mutable_lease()->set_counter(lease_);
    grant->mutable_round()->set_job(1);
    grant->mutable_round()->set_number(static_cast<uint32_t>(round_));
    grant->set_end(1);
    v1::RoundInfo* const info = reply->add_rounds();
    *info->mutable_round() = grant->round();
    info->set_workload("fake");
    info->set_payload(payload_);
    info->add_bulk(digests_[round_]);
    return grpc::Status::OK;
  }

 private:
  bool WaitUntil(const std::function<bool()>& holds) {
    const absl::Time deadline = AwakeNow() + kPatience;
    MutexLock lock(&mutex_);
    while (!holds() && AwakeNow() < deadline) changed_.WaitFor(&mutex_, deadline - AwakeNow());
    return holds();
  }

  Mutex mutex_;
  CondVar changed_;
  std::string payload_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> digests_ ABSL_GUARDED_BY(mutex_);
  Judge judge_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  std::string numerics_class_ ABSL_GUARDED_BY(mutex_);
  uint64_t session_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t round_ ABSL_GUARDED_BY(mutex_) = 0;  // The open one.
  uint64_t lease_ ABSL_GUARDED_BY(mutex_) = 0, leases_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t seq_ ABSL_GUARDED_BY(mutex_) = 0;  // Of the newest Exchange.
};

std::string Bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes;
  while (bytes.size() < size) {
    const uint64_t value = random();
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  bytes.resize(size);
  return bytes;
}

class SessionTest : public ::testing::Test {
 protected:
  void StartWorker() { workers_.Start("ada", coordinator_.join()); }
  Worker& worker() { return workers_.first(); }
  Rounds& rounds() { return coordinator_.service(); }
  std::vector<std::string> said() const { return workers_.said(); }
  bool HasSaid(const std::string& part) const {
    for (const std::string& sentence : said()) {
      if (absl::StrContains(sentence, part)) return true;
    }
    return false;
  }

  FakeCoordinator<Rounds> coordinator_;
  RunningWorkers workers_;
};

TEST_F(SessionTest, ALargeResultOfALargeBlobGoesTheWholeWay) {
  const std::string bytes = Bytes(3 * kPieceBytes / 2, 1);
  rounds().Begin("echo:0", {rounds().Serve(bytes)});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  EXPECT_THAT(rounds().lines(), ElementsAre("join", "grant 5.1", "slice 5.1 is put"));
  EXPECT_EQ(rounds().result(), bytes);
  worker().Drain();
  EXPECT_EQ(workers_.WaitForEnd(kPatience), WorkerEnd::kDrained);
}

TEST_F(SessionTest, WhatWasHandedInIsSaidNowAndThen) {
  workers_.progress_interval = absl::Nanoseconds(1);
  rounds().Begin("fetch:0", {rounds().Serve("abc"), rounds().Serve("abcd")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(2));
  EXPECT_TRUE(HasSaid("handed in so far: 1 result, "));  // Before it began the second one.
}

TEST_F(SessionTest, ASmallResultGoesInline) {
  rounds().Begin("fetch:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  EXPECT_THAT(rounds().lines(), ElementsAre("join", "grant 5.1", "slice 5.1"));
}

TEST_F(SessionTest, AResultThatFitsAnExchangeGoesInlineAlthoughItCameAsAFile) {
  rounds().Begin("echo:0", {rounds().Serve(Bytes(kPieceBytes, 1))});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  EXPECT_THAT(rounds().lines(), ElementsAre("join", "grant 5.1", "slice 5.1"));
}

TEST_F(SessionTest, ARoundsDataAreGoneSoonAfterIt) {
  std::vector<std::string> digests;
  for (uint64_t i = 0; i < 20; ++i) digests.push_back(rounds().Serve(Bytes(kPieceBytes / 2, i)));
  rounds().Begin("echo:0", digests);
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(19));
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(workers_.directory() + "/scratch")) {
    if (absl::StartsWith(entry.path().filename().string(), "bulk-")) ++files;
  }
  EXPECT_LE(files, 2u);
  EXPECT_FALSE(std::filesystem::exists(workers_.directory() + "/blobs"));
}

TEST_F(SessionTest, AResultThatTheCoordinatorForgotIsHandedOverAgain) {
  int reports = 0;
  rounds().SetJudge([&](const v1::ExchangeRequest& request, v1::SliceAnswer::Verdict* verdict) {
    if (request.slices_size() > 0 && ++reports == 1) *verdict = v1::SliceAnswer::NOT_HERE;
    // Its session is lost.
    if (request.slices_size() > 0 && reports == 2) return grpc::Status(grpc::StatusCode::NOT_FOUND, "join again");
    return grpc::Status::OK;
  });
  rounds().Begin("large:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  size_t puts = 0;
  for (const std::string& call : rounds().calls()) puts += absl::StartsWith(call, "put 5.1 1200000") ? 1 : 0;
  EXPECT_EQ(puts, 3u);
  EXPECT_THAT(said(), ::testing::Not(Contains(HasSubstr("cannot be handed over"))));
}

// The first lease was handed back, and the next one did the round. A grant whose answer a newer call overtook is lost on the
// way: the worker never lists it, so that call hands it back at once and another follows.
void ExpectHandedBackThenDone(const std::vector<std::string>& lines, const std::string& how) {
  ASSERT_GE(lines.size(), 5u) << ::testing::PrintToString(lines);
  size_t at = 3;
  uint64_t lease = 2;
  for (; at + 1 < lines.size() && lines[at + 1] == absl::StrCat("back 5.", lease); at += 2) ++lease;
  EXPECT_THAT(std::vector<std::string>(lines.begin(), lines.begin() + 3), ElementsAre("join", "grant 5.1", "back 5.1"));
  EXPECT_THAT(std::vector<std::string>(lines.begin() + static_cast<ptrdiff_t>(at), lines.end()),
              ElementsAre(absl::StrCat("grant 5.", lease), absl::StrCat("slice 5.", lease, how)));
}

TEST_F(SessionTest, AResultThatIsNotWantedIsDroppedWithoutAlarmAndItsLeaseHandedBack) {
  int puts = 0;
  rounds().SetHook([&](int64_t, std::string*) {
    const bool fails = ++puts == 1;
    return fails ? grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "the lease is gone") : grpc::Status::OK;
  });
  rounds().Begin("large:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  ExpectHandedBackThenDone(rounds().lines(), " is put");
  EXPECT_FALSE(HasSaid("gone"));
}

TEST_F(SessionTest, ABlobThatIsDeniedEndsItsRunWithoutAlarm) {
  int gets = 0;
  rounds().SetHook([&](int64_t piece, std::string*) {
    const bool fails = piece < 0 && ++gets == 1;
    return fails ? grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "the lease is gone") : grpc::Status::OK;
  });
  rounds().Begin("fetch:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  ExpectHandedBackThenDone(rounds().lines(), "");
  EXPECT_FALSE(HasSaid("gone"));
}

TEST_F(SessionTest, ABlobThatIsNeverAllowedIsSaidOnceInTheEnd) {
  rounds().SetHook(
      [&](int64_t, std::string*) { return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not for you"); });
  rounds().Begin("fetch:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForLine("back 5.4"));
  size_t said_so = 0;
  for (const std::string& sentence : said()) said_so += absl::StrContains(sentence, "not for you") ? 1 : 0;
  EXPECT_EQ(said_so, 1u);
}

TEST_F(SessionTest, ABlobThatComesDamagedIsSaidOnceAndTheRunTriedAgain) {
  int damaged = 0;
  rounds().SetHook([&](int64_t piece, std::string* data) {
    if (piece == 0 && data->size() == 3 && ++damaged <= 6) (*data)[0] ^= 1;
    return grpc::Status::OK;
  });
  rounds().Begin("fetch:0", {rounds().Serve("abc")});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForRounds(1));
  EXPECT_EQ(damaged, 7);  // Given up after three, twice.
  size_t said_so = 0;
  for (const std::string& sentence : said()) said_so += absl::StrContains(sentence, "what its manifest says") ? 1 : 0;
  EXPECT_EQ(said_so, 1u);
}

TEST_F(SessionTest, StoppingEndsATransferThatHangs) {
  // The service may still be on its way out of them when the test is over.
  const auto hangs = std::make_shared<Notification>(), may_end = std::make_shared<Notification>();
  rounds().SetHook([hangs, may_end](int64_t, std::string*) {
    if (!hangs->HasBeenNotified()) hangs->Notify();
    may_end->WaitForNotification();
    return grpc::Status::OK;
  });
  rounds().Begin("fetch:0", {rounds().Serve("abc")});
  StartWorker();
  hangs->WaitForNotification();
  worker().StopNow();
  EXPECT_EQ(workers_.WaitForEnd(kPatience), WorkerEnd::kStopped);
  may_end->Notify();
}

TEST_F(SessionTest, TheNumericsClassSaysHowNetworksAreComputed) {
  rounds().Begin("good", {});
  StartWorker();
  ASSERT_TRUE(rounds().WaitForLine("join"));
  EXPECT_THAT(rounds().numerics_class(), ::testing::MatchesRegex("cpu/scalar/[a-z0-9-]+\\+reference/test"));
  EXPECT_TRUE(HasSaid("networks are trained by the portable kernels"));
}

// Not a test: prints what a step costs beside its computing. --gtest_also_run_disabled_tests --gtest_filter=*Figures
TEST_F(SessionTest, DISABLED_Figures) {
  constexpr size_t kSize = 4'799'528;
  constexpr size_t kSteps = 100;
  std::string bytes = Bytes(kSize, 1);
  std::vector<std::string> digests;
  for (size_t i = 0; i < kSteps; ++i) {
    bytes[0] = static_cast<char>(i);
    digests.push_back(rounds().Serve(bytes));
  }
  StartWorker();
  ASSERT_TRUE(rounds().WaitForLine("join"));
  const absl::Time start = AwakeNow();
  rounds().Begin("echo:0", digests);
  ASSERT_TRUE(rounds().WaitForRounds(kSteps));
  std::printf("%zu bytes each way: %.1f ms a step\n", kSize, absl::ToDoubleMilliseconds(AwakeNow() - start) / kSteps);
}

}  // namespace
}  // namespace potluck
