// Volatile rounds over the wire: a real coordinator on the loopback, workers who get bulk data and hand results over,
// and a viewer who gets the saved state.
#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "coordinator/coordinator.h"
#include "coordinator/service/blob_service_testing.h"
#include "coordinator/service/result_room.h"
#include "tests/simulation/fake_training.h"

namespace potluck {
namespace {

using simulation::BlockAt;
using simulation::BlockGradient;
using simulation::BytesOf;
using simulation::Floats;
using simulation::FloatsOf;
using ::testing::HasSubstr;

constexpr uint32_t kRounds = 4;
constexpr uint64_t kSize = 6;

// A worker who trains, by hand.
class Trainer : public Worker {
 public:
  using Worker::Worker;

  void Exchange(const std::vector<v1::Slice>& slices, v1::ExchangeReply& reply) {
    v1::ExchangeRequest request;
    request.set_session(session());
    request.set_seq(++seq_);
    request.add_free_capacity(1);
    request.set_no_wait(true);
    for (const v1::Slice& slice : slices) *request.add_slices() = slice;
    for (const v1::HeldLease& held : held_) *request.add_held() = held;
    const grpc::Status status = workers().Exchange(Context().get(), request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::RoundInfo& round : reply.rounds()) round_ = round;
  }
  void Hold(const v1::Grant& grant) {
    v1::HeldLease held;
    *held.mutable_lease() = grant.lease();
    *held.mutable_round() = grant.round();
    held.set_begin(grant.begin());
    held.set_end(grant.end());
    held_ = {held};
  }
  void HoldNothing() { held_.clear(); }
  const v1::RoundInfo& round() const { return round_; }

  struct Put {
    std::unique_ptr<grpc::ClientContext> context;
    v1::PutResultReply reply;
    std::unique_ptr<grpc::ClientWriter<v1::PutResultRequest>> writer;

    void Data(const std::string& data) {
      v1::PutResultRequest request;
      request.set_data(data);
      writer->Write(request);
    }
    grpc::Status Finish() {
      writer->WritesDone();
      return writer->Finish();
    }
  };
  std::unique_ptr<Put> StartPut(const v1::Grant& grant, uint64_t size) {
    auto put = std::make_unique<Put>();
    put->context = Context();
    put->writer = workers().PutResult(put->context.get(), &put->reply);
    v1::PutResultRequest request;
    request.set_session(session());
    *request.mutable_lease() = grant.lease();
    *request.mutable_round() = grant.round();
    request.set_size(size);
    put->writer->Write(request);
    return put;
  }
  v1::Slice SliceOf(const v1::Grant& grant, Interval block, const Floats& parameters) {
    v1::Slice slice;
    *slice.mutable_round() = grant.round();
    *slice.mutable_lease() = grant.lease();
    slice.set_begin(block.begin);
    slice.set_end(block.end);
    slice.set_busy_seconds(0.01);
    slice.set_payload(BytesOf(BlockGradient(parameters, grant.round().number(), block)));
    slice.set_digest(Sha256(slice.payload()));
    return slice;
  }
  // Takes part until nothing is granted any more; results are handed over apart. False if there was nothing to do.
  bool Train() {
    v1::ExchangeReply reply;
    Exchange({}, reply);
    const bool has_work = reply.granted_size() > 0;
    while (reply.granted_size() > 0) {
      const v1::Grant grant = reply.granted(0);
      std::string parameters;
      EXPECT_TRUE(Get(round_.bulk(0), parameters).ok());
      for (uint64_t begin = grant.begin(); begin < grant.end();) {
        const Interval block = BlockAt(begin, grant.end(), kSize);
        v1::Slice slice = SliceOf(grant, block, FloatsOf(parameters));
        const std::unique_ptr<Put> put = StartPut(grant, slice.payload().size());
        put->Data(slice.payload().substr(0, 5));
        put->Data(slice.payload().substr(5));
        const grpc::Status status = put->Finish();
        EXPECT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(put->reply.digest(), slice.digest());
        slice.clear_payload();
        slice.set_is_put(true);
        begin = block.end;
        v1::Grant rest = grant;
        rest.set_begin(begin);
        Hold(rest);
        if (begin == grant.end()) HoldNothing();
        reply.Clear();
        Exchange({slice}, reply);  // At once: until then it takes up room.
        EXPECT_EQ(reply.answers(0).verdict(), v1::SliceAnswer::COMMITTED);
      }
    }
    return has_work;
  }

 private:
  uint64_t seq_ = 0;
  std::vector<v1::HeldLease> held_;
  v1::RoundInfo round_;
};

class VolatileServiceTest : public ::testing::Test {
 protected:
  VolatileServiceTest() {
    std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    directory_ = pattern;
  }
  ~VolatileServiceTest() override {
    admin_.reset();
    coordinator_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  void Start(absl::Duration save_interval = absl::Hours(1)) {
    coordinator_.reset();
    CoordinatorOptions options;
    options.state_directory = directory_;
    options.result_memory_bytes = sizeof(Floats);  // One at a time.
    options.core.save_interval = save_interval;
    options.planners = [](const std::string&, const std::string&, const BlobReader&) {
      return Result<std::unique_ptr<Planner>>(std::make_unique<simulation::FakeTrainingPlanner>(kRounds, kSize));
    };
    absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(std::move(options));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    admin_ = std::make_unique<Admin>(coordinator_->admin_join_string());
  }
  Trainer NewTrainer(const std::string& name) const { return Trainer(coordinator_->worker_join_string(), name); }
  v1::JobStatus Status(uint64_t job) const {
    v1::ListReply reply;
    EXPECT_TRUE(admin_->jobs().List(admin_->Context().get(), v1::ListRequest(), &reply).ok());
    for (const v1::JobStatus& status : reply.jobs()) {
      if (status.job() == job) return status;
    }
    return {};
  }
  v1::JobStatus WaitForEnd(uint64_t job) const {
    v1::WatchRequest request;
    request.set_job(job);
    const auto context = admin_->Context();
    const auto reader = admin_->jobs().Watch(context.get(), request);
    v1::JobStatus status;
    while (reader->Read(&status)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    return status;
  }
  grpc::Status GetJobBlob(uint64_t job, const std::string& digest, std::string& bytes) const {
    v1::GetJobBlobRequest request;
    request.set_job(job);
    request.set_digest(digest);
    const auto context = admin_->Context();
    const auto reader = admin_->jobs().GetBlob(context.get(), request);
    v1::BlobPiece piece;
    for (bytes.clear(); reader->Read(&piece);) bytes += piece.data();
    return reader->Finish();
  }

  const std::string expected_ = BytesOf(simulation::TrainAlone(kRounds, kSize));
  std::string directory_;  // Removed at the end.
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Admin> admin_;
};

TEST_F(VolatileServiceTest, AJobIsTrainedAndItsStateCanBeHad) {
  Start();
  const uint64_t job = admin_->MustSubmit({});
  Trainer ada = NewTrainer("ada"), bob = NewTrainer("bob");
  while (ada.Train() || bob.Train()) {
  }
  const v1::JobStatus status = WaitForEnd(job);
  EXPECT_EQ(status.state(), v1::JobStatus::DONE) << status.message();
  EXPECT_EQ(status.summary(), expected_);
  EXPECT_EQ(status.saved_round(), kRounds);
  std::string state;
  EXPECT_TRUE(GetJobBlob(job, status.saved_state(), state).ok());
  EXPECT_EQ(state, "4 " + expected_);
  uint64_t received = 0, sent = 0;
  for (const v1::Contribution& one : status.contributions()) {
    received += one.bytes_received();
    sent += one.bytes_sent();
  }
  EXPECT_GE(received, kRounds * sizeof(Floats));
  EXPECT_GE(sent, kRounds * sizeof(Floats));
  EXPECT_EQ(GetJobBlob(job, Sha256("other"), state).error_code(), grpc::StatusCode::NOT_FOUND);
  admin_->CancelAndDelete(admin_->MustSubmit({}));
}

TEST_F(VolatileServiceTest, ARestartGoesOnFromTheSavedStateToTheSameBits) {
  Start(absl::ZeroDuration());
  const uint64_t job = admin_->MustSubmit({});
  std::unique_ptr<Trainer> ada = std::make_unique<Trainer>(coordinator_->worker_join_string(), "ada");
  for (int i = 0; i < 1000 && Status(job).round() < 2; ++i) ada->Train();
  ada.reset();
  Start(absl::ZeroDuration());
  EXPECT_GE(Status(job).round(), 2u);
  ada = std::make_unique<Trainer>(coordinator_->worker_join_string(), "ada");
  for (int i = 0; i < 1000 && Status(job).state() == v1::JobStatus::RUNNING; ++i) ada->Train();
  EXPECT_EQ(WaitForEnd(job).summary(), expected_);
}

TEST_F(VolatileServiceTest, WhatMayNotBeHandedOverIsRefusedWithASentence) {
  Start();
  admin_->MustSubmit({});
  Trainer ada = NewTrainer("ada"), bob = NewTrainer("bob");
  v1::ExchangeReply reply;
  ada.Exchange({}, reply);
  const v1::Grant grant = reply.granted(0);
  ada.Hold(grant);
  const auto refusal = [&](Trainer& who, uint64_t size, const std::string& data, const v1::Grant& of) {
    const std::unique_ptr<Trainer::Put> put = who.StartPut(of, size);
    if (!data.empty()) put->Data(data);
    const grpc::Status status = put->Finish();
    return std::to_string(status.error_code()) + " " + status.error_message();
  };
  v1::Grant other = grant;
  other.mutable_lease()->set_counter(99);
  EXPECT_THAT(refusal(ada, 12, "", other), HasSubstr("7 the session holds no lease 1.99 of round 0 of job 1"));
  EXPECT_THAT(refusal(bob, 12, "", grant), HasSubstr("7 the session holds no lease"));
  EXPECT_EQ(refusal(ada, 13, "", grant), "3 size is 13; allowed are 1 to 12");
  EXPECT_EQ(refusal(ada, 12, std::string(13, 'x'), grant),
            "3 the result has more than the 12 bytes it was said to have");
  EXPECT_EQ(refusal(ada, 12, "abc", grant), "3 the result has 3 of the 12 bytes it was said to have");
  // What was not handed over is asked for.
  v1::Slice slice = ada.SliceOf(grant, {0, 1}, Floats{});
  slice.clear_payload();
  slice.set_is_put(true);
  reply.Clear();
  ada.Exchange({slice}, reply);
  EXPECT_EQ(reply.answers(0).verdict(), v1::SliceAnswer::NOT_HERE);
}

TEST_F(VolatileServiceTest, WhoFindsNoRoomWaitsUntilThereIs) {
  Start();
  admin_->MustSubmit({});
  Trainer ada = NewTrainer("ada"), bob = NewTrainer("bob");
  v1::ExchangeReply reply;
  ada.Exchange({}, reply);
  const v1::Grant adas = reply.granted(0);
  ada.Hold(adas);
  reply.Clear();
  bob.Exchange({}, reply);
  const v1::Grant bobs = reply.granted(0);
  bob.Hold(bobs);
  v1::Slice slice = ada.SliceOf(adas, {adas.begin(), adas.begin() + 1}, Floats{});
  const std::unique_ptr<Trainer::Put> first = ada.StartPut(adas, slice.payload().size());
  first->Data(slice.payload());
  EXPECT_TRUE(first->Finish().ok());  // It is in the room until its slice comes.
  grpc::Status second;
  std::thread waiting([&] {
    const v1::Slice bobs_slice = bob.SliceOf(bobs, {bobs.begin(), bobs.begin() + 1}, Floats{});
    const std::unique_ptr<Trainer::Put> put = bob.StartPut(bobs, bobs_slice.payload().size());
    put->Data(bobs_slice.payload());
    second = put->Finish();
  });
  // One that gives up while it waits is in nobody's way.
  const std::unique_ptr<Trainer::Put> third = bob.StartPut(bobs, 12);
  third->context->TryCancel();
  EXPECT_EQ(third->writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  slice.clear_payload();
  slice.set_is_put(true);
  ada.HoldNothing();
  reply.Clear();
  ada.Exchange({slice}, reply);
  EXPECT_EQ(reply.answers(0).verdict(), v1::SliceAnswer::COMMITTED);
  waiting.join();
  EXPECT_TRUE(second.ok()) << second.error_message();
}

// ---- The room by itself

class FakeStream : public ResultRoom::Stream {
 public:
  void LetIn(std::shared_ptr<void> room) override {
    MutexLock lock(&mutex_);
    room_ = std::move(room);
    is_in_ = true;
    changed_.SignalAll();
  }
  void GiveUp() override {
    MutexLock lock(&mutex_);
    is_given_up_ = true;
    changed_.SignalAll();
  }
  bool WaitUntilIn() {
    MutexLock lock(&mutex_);
    while (!is_in_) {
      if (!changed_.WaitFor(&mutex_, absl::Seconds(20))) return false;
    }
    return true;
  }
  bool WaitUntilGivenUp() {
    MutexLock lock(&mutex_);
    while (!is_given_up_) {
      if (!changed_.WaitFor(&mutex_, absl::Seconds(20))) return false;
    }
    return true;
  }
  bool is_in() {
    MutexLock lock(&mutex_);
    return is_in_;
  }
  void LetGo() {
    std::shared_ptr<void> room;
    {
      MutexLock lock(&mutex_);
      room.swap(room_);
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<void> room_;
  bool is_in_ = false, is_given_up_ = false;
};

TEST(ResultRoomTest, AsManyAreLetInAsFitAndALargerOneAlone) {
  ResultRoom room(10);
  FakeStream a, b, large, c;
  room.Ask(&a, 6);
  room.Ask(&b, 4);
  EXPECT_TRUE(a.is_in() && b.is_in());
  room.Ask(&large, 100);
  room.Ask(&c, 1);  // Not before those who came before.
  EXPECT_FALSE(large.is_in() || c.is_in());
  EXPECT_EQ(room.waiting(), 2u);
  a.LetGo();
  b.LetGo();
  EXPECT_TRUE(large.WaitUntilIn());
  EXPECT_EQ(room.used_bytes(), 100u);
  EXPECT_TRUE(room.Withdraw(&c));
  EXPECT_FALSE(room.Withdraw(&large));
  large.LetGo();
  EXPECT_EQ(room.used_bytes(), 0u);
}

TEST(ResultRoomTest, AStreamThatStandsStillIsGivenUpOnceOthersWait) {
  ResultRoom room(10, absl::Milliseconds(20));
  FakeStream still, done, waiting;
  room.Ask(&still, 5);
  room.Ask(&done, 5);
  room.Leave(&done);
  room.Ask(&waiting, 5);
  EXPECT_TRUE(still.WaitUntilGivenUp());
  still.LetGo();
  EXPECT_TRUE(waiting.WaitUntilIn());
  done.LetGo();
  waiting.LetGo();
}

}  // namespace
}  // namespace potluck
