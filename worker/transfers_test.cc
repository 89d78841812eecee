// Transfers against a coordinator that only knows blobs and results, over TLS on loopback.
#include "worker/transfers.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/clock.h"
#include "base/notification.h"
#include "worker/transfers_testing.h"

namespace potluck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr LeaseId kLease{1, 1}, kOtherLease{1, 2};
constexpr RoundKey kRound{JobId{1}, 3};
constexpr SessionId kSession{7};

// `name`, then random bytes.
std::string Bytes(char name, size_t size) {
  std::mt19937_64 random(static_cast<uint64_t>(name));
  std::string bytes(size, name);
  for (size_t at = 8; at + 8 <= size; at += 8) {
    const uint64_t value = random();
    memcpy(bytes.data() + at, &value, 8);
  }
  return bytes;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Writes events down, and lets the test wait for them.
class Events : public TransferEvents {
 public:
  void OnFetched(LeaseId lease, const std::string& /*digest*/, const absl::StatusOr<std::string>& path) override {
    MutexLock lock(&mutex_);
    if (path.ok()) path_ = *path;
    Add(absl::StrCat("fetched for ", ToString(lease), ": ",
                     path.ok() ? ReadFile(*path).substr(0, 1) : path.status().ToString()));
  }
  void OnHandedOver(LeaseId lease, Interval interval, const absl::StatusOr<std::string>& digest) override {
    MutexLock lock(&mutex_);
    if (digest.ok()) digest_ = *digest;
    Add(absl::StrCat("handed over ", ToString(lease), " ", ToString(interval), ": ",
                     digest.ok() ? "OK" : digest.status().ToString()));
  }

  // The next event that was not waited for yet.
  std::string Next() {
    const absl::Time deadline = AwakeNow() + kPatience;
    MutexLock lock(&mutex_);
    while (events_.empty()) {
      if (!changed_.WaitFor(&mutex_, deadline - AwakeNow()) && AwakeNow() >= deadline) return "nothing";
    }
    std::string event = events_.front();
    events_.pop_front();
    return event;
  }
  std::string path() {
    MutexLock lock(&mutex_);
    return path_;
  }
  std::string digest() {
    MutexLock lock(&mutex_);
    return digest_;
  }

 private:
  void Add(std::string event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    events_.push_back(std::move(event));
    changed_.SignalAll();
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::string path_ ABSL_GUARDED_BY(mutex_), digest_ ABSL_GUARDED_BY(mutex_);
};

class TransfersTest : public ::testing::Test {
 protected:
  TransfersTest() {
    std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/scratch");
    Restart();
  }
  ~TransfersTest() override {
    transfers_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/scratch") || leaves_bulk_);
    std::filesystem::remove_all(directory_);
  }
  // Another process, as far as the folder is concerned.
  void Restart() {
    transfers_ = std::make_unique<Transfers>(
        TransferOptions{directory_ + "/blobs", uint64_t{1} << 30, directory_ + "/scratch"}, events_);
    Connect();
  }
  void Connect() { transfers_->Connect(coordinator_.NewLine(), kSession); }
  FakeWorkers& service() { return coordinator_.service(); }
  LeaseBook::HandOver Result(const std::string& bytes) const {
    const std::string path = directory_ + "/result";
    EXPECT_EQ(WriteResultFile(path, bytes), absl::OkStatus());
    return {kLease, kRound, {0, 4}, *ResultFile::Take(path)};
  }

  std::string directory_;
  bool leaves_bulk_ = false;
  FakeCoordinator<FakeWorkers> coordinator_;
  Events events_;
  std::unique_ptr<Transfers> transfers_;
};

// ---- On one machine

TEST_F(TransfersTest, WhatIsLargeGoesThroughASharedFolder) {
  const std::string shared = directory_ + "/shared", scratch = shared + "/mine";
  std::filesystem::create_directories(scratch);
  transfers_ = std::make_unique<Transfers>(
      TransferOptions{directory_ + "/blobs", 1 << 30, directory_ + "/scratch", shared, scratch}, events_);
  Connect();
  service().ShareIn(shared);
  const std::string bulk = Bytes('b', 3 * kPieceBytes), digest = service().Serve(bulk);
  transfers_->Fetch(kLease, digest, true);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: b");
  // It is ours whatever the coordinator does with its name.
  std::filesystem::remove(shared + "/bulk-1");
  EXPECT_EQ(ReadFile(events_.path()), bulk);
  // Data that are kept between jobs are not a round's.
  transfers_->Fetch(kLease, service().Serve(Bytes('d', kPieceBytes)), false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: d");

  const std::string result = Bytes('r', 1 << 20);
  ASSERT_EQ(WriteResultFile(scratch + "/result", result), absl::OkStatus());
  LeaseBook::HandOver handed{kLease, kRound, {0, 4}, *ResultFile::Take(scratch + "/result", scratch + "/kept-1")};
  transfers_->HandOver(handed);
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): OK");
  EXPECT_EQ(events_.digest(), Sha256(result));
  EXPECT_EQ(service().result(), result);
  EXPECT_THAT(service().calls(), ElementsAre("get b shared", "get d 0", "put 1.1 1048576 bytes shared"));
  handed.result.reset();
  transfers_->KeepOnly({}, {});
  transfers_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(scratch));
}

TEST_F(TransfersTest, WhereNothingIsSharedTheWireServes) {
  transfers_ = std::make_unique<Transfers>(
      TransferOptions{directory_ + "/blobs", 1 << 30, directory_ + "/scratch", directory_, directory_ + "/scratch"},
      events_);
  Connect();
  const std::string bulk = Bytes('b', kPieceBytes), digest = service().Serve(bulk);
  transfers_->Fetch(kLease, digest, true);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: b");
  EXPECT_EQ(ReadFile(events_.path()), bulk);
  transfers_->HandOver(Result(Bytes('r', 1 << 20)));  // Its file has no name.
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): OK");
  EXPECT_THAT(service().calls(), ElementsAre("get b 0", "get b 0", "put 1.1 1048576 bytes"));
  leaves_bulk_ = true;
}

// ---- Blobs

TEST_F(TransfersTest, ABlobIsFetchedOnceAndFoundInTheCacheAfterARestart) {
  const std::string bytes = Bytes('a', 5 * kPieceBytes / 2);
  const std::string digest = service().Serve(bytes);
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_EQ(ReadFile(events_.path()), bytes);
  EXPECT_EQ(transfers_->link_use().bytes_received, 0u);  // Data: no round waits for it each time.
  transfers_->Fetch(kOtherLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.2: a");
  Restart();
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_THAT(service().calls(), ElementsAre("get a 0"));
}

TEST_F(TransfersTest, ADamagedFileInTheCacheIsFetchedAnew) {
  const std::string bytes = Bytes('a', kPieceBytes + 5);
  const std::string digest = service().Serve(bytes);
  transfers_->Fetch(kLease, digest, false);
  events_.Next();
  Restart();
  std::fstream(events_.path(), std::ios::in | std::ios::out).seekp(1000) << 'X';
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_EQ(ReadFile(events_.path()), bytes);
  EXPECT_THAT(service().calls(), ElementsAre("get a 0", "get a 0"));
}

TEST_F(TransfersTest, TwoRunsThatWaitForABlobShareOneFetch) {
  const std::string digest = service().Serve(Bytes('a', 100));
  transfers_->Disconnect();
  transfers_->Fetch(kLease, digest, false);
  transfers_->Fetch(kOtherLease, digest, false);
  Connect();
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_EQ(events_.Next(), "fetched for 1.2: a");
  EXPECT_THAT(service().calls(), ElementsAre("get a 0"));
}

TEST_F(TransfersTest, AnInterruptedFetchGoesOnAtTheFirstMissingPiece) {
  const std::string digest = service().Serve(Bytes('a', 3 * kPieceBytes));
  std::atomic<bool> has_failed = false;
  service().SetHook([&](int64_t piece, std::string*) {
    const bool fails = piece == 2 && !has_failed.exchange(true);
    return fails ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "away") : grpc::Status::OK;
  });
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_THAT(service().calls(), ElementsAre("get a 0", "get a 2"));
}

TEST_F(TransfersTest, WhatAnEarlierProcessGotIsCheckedAndGoneOnWith) {
  const std::string bytes = Bytes('a', 4 * kPieceBytes);
  const std::string digest = service().Serve(bytes);
  std::filesystem::create_directory(directory_ + "/blobs");
  std::string part = bytes.substr(0, 3 * kPieceBytes);
  part[kPieceBytes + 7] ^= 1;
  std::ofstream(absl::StrCat(directory_, "/blobs/", HexDigest(digest), ".part"), std::ios::binary) << part;
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_EQ(ReadFile(events_.path()), bytes);
  EXPECT_THAT(service().calls(), ElementsAre("get a 3", "get a 1"));  // Piece 1 was damaged.
}

TEST_F(TransfersTest, APieceThatIsDamagedOnItsWayIsFetchedAgain) {
  const std::string digest = service().Serve(Bytes('a', 2 * kPieceBytes));
  std::atomic<bool> has_failed = false;
  service().SetHook([&](int64_t piece, std::string* data) {
    if (piece == 1 && !has_failed.exchange(true)) (*data)[3] ^= 1;
    return grpc::Status::OK;
  });
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
  EXPECT_THAT(service().calls(), ElementsAre("get a 0", "get a 1"));
}

TEST_F(TransfersTest, WhatAlwaysComesDamagedIsGivenUpWithASentence) {
  const std::string digest = service().Serve(Bytes('a', 10));
  service().SetHook([&](int64_t piece, std::string* data) {
    if (piece == 0) (*data)[3] ^= 1;
    return grpc::Status::OK;
  });
  transfers_->Fetch(kLease, digest, false);
  EXPECT_THAT(events_.Next(), HasSubstr("is not what its manifest says."));
  EXPECT_EQ(service().calls().size(), 3u);
}

TEST_F(TransfersTest, ALeaseThatIsGoneIsToldApartFromTheRest) {
  const std::string digest = service().Serve(Bytes('a', 10));
  service().SetHook([](int64_t, std::string*) { return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "gone"); });
  transfers_->Fetch(kLease, digest, true);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: PERMISSION_DENIED: gone");
}

TEST_F(TransfersTest, BulkDataGoWhenTheyAreOutOfUse) {
  const std::string digest = service().Serve(Bytes('p', 2 * kPieceBytes));
  transfers_->Fetch(kLease, digest, true);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: p");
  EXPECT_THAT(events_.path(), HasSubstr("/scratch/"));
  transfers_->KeepOnly({digest}, {});
  EXPECT_TRUE(std::filesystem::exists(events_.path()));
  transfers_->KeepOnly({}, {});
  EXPECT_FALSE(std::filesystem::exists(events_.path()));
}

TEST_F(TransfersTest, AFolderThatCannotBeUsedIsSaid) {
  std::ofstream(directory_ + "/blobs") << "a file";
  transfers_->Fetch(kLease, service().Serve("a"), false);
  EXPECT_THAT(events_.Next(), HasSubstr("choose another by --cache."));
}

TEST_F(TransfersTest, ADiskThatIsFullIsSaidAndTriedAgainLater) {
  const std::string digest = service().Serve(Bytes('a', 2 * kPieceBytes));
  // A limit on files stands for the disk's.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_IGN);
  rlimit low = before;
  low.rlim_cur = kPieceBytes + 10;
  setrlimit(RLIMIT_FSIZE, &low);
  transfers_->Fetch(kLease, digest, false);
  const std::string event = events_.Next();
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(event, HasSubstr("cannot be written: File too large; make room there"));
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
}

TEST_F(TransfersTest, WhatARunWaitsForGoesBeforeWhatIsWantedSoon) {
  std::vector<std::string> soon;
  for (char name = 'a'; name < 'a' + 8; ++name) soon.push_back(service().Serve(Bytes(name, 2 * kPieceBytes)));
  const std::string parameters = service().Serve(Bytes('p', kPieceBytes));
  const auto may_go_on = std::make_shared<Notification>();  // As long as somebody is on the way out of it.
  service().SetHook([may_go_on](int64_t piece, std::string* data) {
    if (piece == 0 && (*data)[0] != 'p') may_go_on->WaitForNotification();
    return grpc::Status::OK;
  });
  transfers_->Prefetch(soon);
  transfers_->Fetch(kLease, parameters, true);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: p");  // While others hold on.
  may_go_on->Notify();
  transfers_->Fetch(kLease, soon[7], false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: h");
  transfers_->KeepOnly({}, {});
}

TEST_F(TransfersTest, PrefetchingPausesWithoutALeaseAndGoesOnWithTheNext) {
  const std::string digest = service().Serve(Bytes('a', 10));
  std::atomic<bool> has_lease = false;
  Notification denied, fetched;
  service().SetHook([&](int64_t piece, std::string*) {
    if (!has_lease && !denied.HasBeenNotified()) denied.Notify();
    if (!has_lease) return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no lease");
    if (piece == 0) fetched.Notify();
    return grpc::Status::OK;
  });
  transfers_->Prefetch({digest});
  denied.WaitForNotification();
  has_lease = true;
  while (!fetched.HasBeenNotified()) transfers_->LeaseBegins();  // The denial may be on its way.
  transfers_->Fetch(kLease, digest, false);
  EXPECT_EQ(events_.Next(), "fetched for 1.1: a");
}

TEST_F(TransfersTest, AForgottenFetchIsNotHeardOfAgain) {
  const std::string digest = service().Serve(Bytes('p', kPieceBytes));
  const std::string other = service().Serve(Bytes('q', kPieceBytes));
  transfers_->Disconnect();
  transfers_->Fetch(kLease, digest, true);
  transfers_->Fetch(kOtherLease, other, true);
  transfers_->ForgetFetches(kLease);
  Connect();
  EXPECT_EQ(events_.Next(), "fetched for 1.2: q");
  transfers_->KeepOnly({}, {});
}

// ---- Results

TEST_F(TransfersTest, AResultArrivesWholeAndIsNamedByItsDigest) {
  const std::string bytes = Bytes('r', 5 * kPieceBytes / 2);
  transfers_->HandOver(Result(bytes));
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): OK");
  EXPECT_EQ(events_.digest(), Sha256(bytes));
  EXPECT_EQ(service().result(), bytes);
  EXPECT_THAT(service().calls(), ElementsAre(absl::StrCat("put 1.1 ", bytes.size(), " bytes")));
  EXPECT_EQ(transfers_->link_use().bytes_sent, bytes.size());
}

TEST_F(TransfersTest, AResultThatWasInterruptedIsSentAgain) {
  const std::string bytes = Bytes('r', 2 * kPieceBytes);
  std::atomic<int> calls = 0;
  service().SetHook([&](int64_t piece, std::string* data) {
    if (piece < 0) ++calls;
    if (piece == 1 && calls == 1) return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "later");
    if (piece == 1 && calls == 2) (*data)[0] ^= 1;  // Its digest will not be the worker's.
    return grpc::Status::OK;
  });
  transfers_->HandOver(Result(bytes));
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): OK");
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(service().result(), bytes);
}

TEST_F(TransfersTest, AResultThatNobodyWantsIsSaidOnce) {
  service().SetHook([](int64_t, std::string*) { return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "gone"); });
  transfers_->HandOver(Result(Bytes('r', kPieceBytes)));
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): PERMISSION_DENIED: gone");
  EXPECT_EQ(service().calls().size(), 1u);
}

TEST_F(TransfersTest, AResultWaitsForAConnection) {
  transfers_->Disconnect();
  transfers_->HandOver(Result(Bytes('r', kPieceBytes)));
  EXPECT_TRUE(service().calls().empty());
  Connect();
  EXPECT_EQ(events_.Next(), "handed over 1.1 [0, 4): OK");
}

TEST_F(TransfersTest, AForgottenResultMakesWayForTheNext) {
  transfers_->Disconnect();
  transfers_->HandOver(Result(Bytes('r', kPieceBytes)));
  transfers_->ForgetResults(kLease);
  LeaseBook::HandOver next = Result(Bytes('s', kPieceBytes));
  next.lease = kOtherLease;
  transfers_->HandOver(next);
  Connect();
  EXPECT_EQ(events_.Next(), "handed over 1.2 [0, 4): OK");
}

TEST_F(TransfersTest, ItEndsAtOnceWhateverIsUnderWay) {
  leaves_bulk_ = true;
  // The service may still be on its way out of them when the test is over.
  const auto begun = std::make_shared<Notification>(), may_end = std::make_shared<Notification>();
  service().SetHook([begun, may_end](int64_t, std::string*) {
    if (!begun->HasBeenNotified()) begun->Notify();
    may_end->WaitForNotification();
    return grpc::Status::OK;
  });
  transfers_->HandOver(Result(Bytes('r', kPieceBytes)));
  begun->WaitForNotification();
  transfers_->Fetch(kLease, service().Serve(Bytes('p', kPieceBytes)), true);
  transfers_.reset();
  may_end->Notify();
}

// Not a test: prints what a training step costs here. --gtest_also_run_disabled_tests --gtest_filter=*Figures
TEST_F(TransfersTest, DISABLED_Figures) {
  constexpr size_t kSize = 4'799'528;  // The paper's network, and a tally.
  constexpr int kSteps = 100;
  std::vector<std::string> digests;
  for (int i = 0; i < kSteps; ++i) {
    std::string bytes = Bytes('p', kSize);
    bytes[1] = static_cast<char>(i);
    digests.push_back(service().Serve(bytes));
  }
  const std::string result = Bytes('r', kSize);
  const auto cpu = [] {
    return absl::DurationFromTimespec([] {
      timespec t{};
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
      return t;
    }());
  };
  absl::Duration get, put;
  const absl::Duration before = cpu();
  for (int i = 0; i < kSteps; ++i) {
    absl::Time start = AwakeNow();
    transfers_->Fetch(kLease, digests[i], true);
    events_.Next();
    get += AwakeNow() - start;
    transfers_->KeepOnly({}, {});
    start = AwakeNow();
    transfers_->HandOver(Result(result));  // The executor's part of it, the file, included.
    events_.Next();
    put += AwakeNow() - start;
  }
  std::printf("%zu bytes: get %.1f ms, put %.1f ms, CPU of both ends %.1f ms a step\n", kSize,
              absl::ToDoubleMilliseconds(get) / kSteps, absl::ToDoubleMilliseconds(put) / kSteps,
              absl::ToDoubleMilliseconds(cpu() - before) / kSteps);
}

}  // namespace
}  // namespace potluck
