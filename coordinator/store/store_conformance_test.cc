// What every store must do, run against each of them.
#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/store/rules.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/store/store_testing.h"
#include "kernels/workload/interval_set.h"

namespace potluck {
namespace {

using Verdicts = std::vector<Verdict>;

class StoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  StoreTest() {
    if (GetParam() == "Memory") {
      store_ = std::make_unique<MemoryStore>();
      return;
    }
    absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(directory_.path());
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::Values("Memory", "Sqlite"),
                         [](const auto& info) { return info.param; });

TEST_P(StoreTest, NewStoreIsEmptyAndHasAnEpoch) {
  EXPECT_GE(static_cast<uint64_t>(store_->epoch()), 1u);
  EXPECT_EQ(Describe(*store_), "last job 0\n");
}

TEST_P(StoreTest, EveryFactIsFoundAgain) {
  const Verdicts verdicts = AppendAndWait(*store_, VariedFacts());
  EXPECT_EQ(verdicts, Verdicts(VariedFacts().size(), Verdict::kStored));
  EXPECT_EQ(
      Describe(*store_),
      "job 1 request 1 nqueens job 1 4 ada 3 1.5 1700000001000000000 verify 0.25\n"
      " settings 0 3 1.5 1700000001000000000\n"
      " round 0 of 100 0 state 0: [0, 10)=a [10, 20)=c [22, 28)=d; verified [0, 10) by 3 (avx2) [22, 28) by 2 (avx2)\n"
      " state at 7 3e23e816 ada\t1 1700000027000000000\n"
      " state at 9 2e7d2c03 ada\t1 1700000027000000000\n"
      "job 2 request 2 nqueens job 2 4 ada 3 1.5 1700000002000000000 verify 0.25\n"
      " settings 1 7 2.5 1700000040000000000\n"
      " round 0 of 50 0 state 0: [0, 50)=; verified \n"
      " round 1 of 60 0 state 1: ; verified \n"
      " ended 1 92 \n"
      "worker 18446744073709551615 installation 1 laptop 1700000060000000000\n"
      "worker 2 installation 2 lab-7 1700000062000000000\n"
      "worker 2 is lab, 0.1, Linux x86_64, cpu/avx2/x86-64 1700000061000000000\n"
      "worker 2 is lab-7, 0.2, Linux x86_64, cpu/avx2/x86-64 1700000062000000000\n"
      "quarantined 2 it was found wrong 1700000063000000000\n"
      "token 1 ada 3 never\n"
      "revoked token 2 bob 1 expires\n" +
          absl::StrCat("blob ", HexDigest(Sha256("blob")), " of 1\n") +
          "session 1 of 2 by token 1: lab at colab since 1699999900000000000 gpu 3, cpu/avx2/x86-64 "
          "1700000080000000000 closed 1 1700000090000000000\n"
          "session 2 of 18446744073709551615 by token 1: lab at colab since ? gpu 3, cpu/avx2/x86-64 "
          "1700000085000000000\n"
          "ran 1700000079000000000 1700000095000000000\n"
          "last job 3\n");
}

TEST_P(StoreTest, FactsSentTwiceAreRepeats) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 10), Slice(1, 0, {0, 10})});
  const std::vector<Fact> facts = {Job(1),
                                   Opened(1, 0, 10),
                                   Slice(1, 0, {0, 10}),
                                   WorkerSeen{WorkerId{1}, "i", "n", At(1)},
                                   WorkerDescribed{WorkerId{1}, "n", "0.1", "p", "d", At(1)},
                                   TokenCreated{TokenId{1}, "h", "t", Role::kViewer, At(1)},
                                   TokenRevoked{TokenId{1}, At(1)},
                                   BlobNamed{JobId{1}, "d"},
                                   SliceDisagreed{{JobId{1}, 0}, {0, 10}, "other", WorkerId{2}, At(1)},
                                   WorkerQuarantined{WorkerId{1}, "wrong", At(1)},
                                   Saved(1, 3),
                                   Came(1, 1, At(1)),
                                   SessionClosed{1, SessionEnd::kLost, At(2)},
                                   CoordinatorRan{At(1), At(2)},
                                   Ended(1)};
  AppendAndWait(*store_, facts);
  EXPECT_EQ(AppendAndWait(*store_, facts), Verdicts(facts.size(), Verdict::kRepeat));
  EXPECT_EQ(store_->Load()->jobs.at(0).disagreements, 1u);
}

TEST_P(StoreTest, SliceIsStoredIfAndOnlyIfItIsDisjoint) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100), Slice(1, 0, {20, 40}, "a"), Slice(1, 0, {60, 80}, "b")});
  EXPECT_EQ(AppendOne(*store_, Slice(1, 0, {20, 40}, "a", 9)), Verdict::kRepeat);
  EXPECT_EQ(AppendOne(*store_, Slice(1, 0, {20, 40}, "x")), Verdict::kDisagreement);
  for (const Interval overlapping :
       {Interval{0, 21}, {20, 30}, {30, 40}, {25, 30}, {39, 41}, {0, 100}, {20, 41}, {40, 61}, {50, 100}, {79, 80}}) {
    EXPECT_EQ(AppendOne(*store_, Slice(1, 0, overlapping, "a")), Verdict::kOverlap) << ToString(overlapping);
  }
  for (const Interval disjoint : {Interval{0, 20}, {40, 60}, {80, 100}}) {
    EXPECT_EQ(AppendOne(*store_, Slice(1, 0, disjoint, "c")), Verdict::kStored) << ToString(disjoint);
  }
  EXPECT_EQ(Slices(*store_, 1, 0), "[0, 20)=c [20, 40)=a [40, 60)=c [60, 80)=b [80, 100)=c");
}

TEST_P(StoreTest, SlicesOfOneAppendAreCheckedAgainstEachOther) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100)});
  EXPECT_EQ(AppendAndWait(*store_, {Slice(1, 0, {0, 10}), Slice(1, 0, {5, 15}), Slice(1, 0, {0, 10}),
                                    SliceRetracted{{JobId{1}, 0}, {0, 10}, "", At(1)}, Slice(1, 0, {5, 15})}),
            (Verdicts{Verdict::kStored, Verdict::kOverlap, Verdict::kRepeat, Verdict::kStored, Verdict::kStored}));
  EXPECT_EQ(Slices(*store_, 1, 0), "[5, 15)=sum");
}

TEST_P(StoreTest, RoundsAndJobsAreKeptApart) {
  AppendAndWait(*store_, {Job(1), Job(2), Opened(1, 0, 10), Opened(1, 1, 10), Opened(2, 0, 10)});
  EXPECT_EQ(AppendAndWait(*store_, {Slice(1, 0, {0, 10}, "a"), Slice(1, 1, {0, 10}, "b"), Slice(2, 0, {0, 10}, "c")}),
            Verdicts(3, Verdict::kStored));
  EXPECT_EQ(Slices(*store_, 1, 1), "[0, 10)=b");
}

TEST_P(StoreTest, WhatIsNotThereIsUnknown) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100), Slice(1, 0, {0, 10})});
  const std::vector<Fact> facts = {Slice(1, 1, {0, 10}),
                                   Slice(2, 0, {0, 10}),
                                   Slice(1, 0, {90, 101}),
                                   Slice(1, 0, {5, 5}),
                                   Slice(1, 0, {90, ~uint64_t{0}}),
                                   SliceRetracted{{JobId{1}, 0}, {0, 9}, "", At(1)},
                                   SliceRetracted{{JobId{1}, 0}, {1, 10}, "", At(1)},
                                   SliceDisagreed{{JobId{1}, 0}, {0, 11}, "d", WorkerId{1}, At(1)},
                                   Verified(1, 0, {0, 10}, "another result"),
                                   Verified(1, 0, {0, 9}),
                                   Verified(1, 0, {10, 20}),
                                   Verified(2, 0, {0, 10}),
                                   WorkerPardoned{WorkerId{1}, At(1)},
                                   Opened(2, 0, 10),
                                   JobSettings{JobId{2}, true, 1, 1, At(1)},
                                   Ended(2),
                                   JobDeleted{JobId{2}},
                                   TokenRevoked{TokenId{5}, At(1)},
                                   SessionClosed{1, SessionEnd::kLost, At(2)},
                                   BlobNamed{JobId{2}, "d"}};
  EXPECT_EQ(AppendAndWait(*store_, facts), Verdicts(facts.size(), Verdict::kUnknown));
  EXPECT_EQ(Slices(*store_, 1, 0), "[0, 10)=sum");
}

TEST_P(StoreTest, RetractedSliceMakesRoomForOthers) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100), Slice(1, 0, {0, 10}, "wrong"), Slice(1, 0, {10, 20}, "b")});
  const SliceRetracted retraction{{JobId{1}, 0}, {0, 10}, "wrong", At(1)};
  EXPECT_EQ(AppendOne(*store_, retraction), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, retraction), Verdict::kUnknown);
  EXPECT_EQ(AppendOne(*store_, Slice(1, 0, {0, 10}, "right")), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, Slice(1, 0, {0, 10}, "wrong")), Verdict::kDisagreement);
  EXPECT_EQ(Slices(*store_, 1, 0), "[0, 10)=right [10, 20)=b");
}

// "0:[0, 3)=sum 1:[5, 9)=other": the slices of one page.
std::string Page(Store& store, const SlicePage& page) {
  const absl::StatusOr<std::vector<StoredSlice>> slices = store.ReadPage(page);
  if (!slices.ok()) return slices.status().ToString();
  std::string text;
  for (const StoredSlice& stored : *slices) {
    absl::StrAppend(&text, text.empty() ? "" : " ", stored.slice.key.round, ":", ToString(stored.slice.interval), "=",
                    stored.slice.payload);
  }
  return text;
}

TEST_P(StoreTest, SlicesAreReadPageByPage) {
  AppendAndWait(*store_, {Job(1), Job(2), Opened(1, 0, 100), Opened(2, 0, 100), Slice(2, 0, {0, 100}, "other job"),
                          Slice(1, 0, {20, 30}, "c"), Slice(1, 0, {0, 10}, "a"), Slice(1, 0, {10, 20}, "b"),
                          SliceRetracted{{JobId{1}, 0}, {10, 20}, "wrong", At(1)}, Opened(1, 1, 5),
                          Slice(1, 1, {0, 5}, std::string(100, 'd'))});
  const std::string d(100, 'd');
  SlicePage page{.job = JobId{1}, .max_slices = 10, .max_bytes = 1000};
  EXPECT_EQ(Page(*store_, page), "0:[0, 10)=a 0:[20, 30)=c 1:[0, 5)=" + d);
  page.begin = 10;
  EXPECT_EQ(Page(*store_, page), "0:[20, 30)=c 1:[0, 5)=" + d);
  page.max_slices = 1;
  EXPECT_EQ(Page(*store_, page), "0:[20, 30)=c");
  page.max_slices = 10;
  page.max_bytes = 50;
  EXPECT_EQ(Page(*store_, page), "0:[20, 30)=c");
  page.begin = 30;
  EXPECT_EQ(Page(*store_, page), "1:[0, 5)=" + d) << "the first one is read, however large";
  page = {.job = JobId{1}, .round = 1, .begin = 5, .max_slices = 10, .max_bytes = 1000};
  EXPECT_EQ(Page(*store_, page), "");
  page = {.job = JobId{1}, .round = 0, .begin = ~uint64_t{0}, .max_slices = 10, .max_bytes = 10};
  EXPECT_EQ(Page(*store_, page).find("0:"), std::string::npos);
  AppendAndWait(*store_, {Ended(1)});
  page = {.job = JobId{1}, .max_slices = 1, .max_bytes = 1};
  EXPECT_EQ(Page(*store_, page), "0:[0, 10)=a") << "an ended job keeps its slices";
  AppendAndWait(*store_, {JobDeleted{JobId{1}}});
  EXPECT_EQ(Page(*store_, page), "");
}

TEST_P(StoreTest, AWorkersDescriptionIsStoredWhenItIsAnother) {
  const auto said = [](const std::string& version) {
    return WorkerDescribed{WorkerId{1}, "lab", version, "Linux", "cpu", At(1)};
  };
  EXPECT_EQ(AppendOne(*store_, said("0.1")), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, said("0.1")), Verdict::kRepeat);
  EXPECT_EQ(AppendOne(*store_, said("0.2")), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, said("0.1")), Verdict::kStored) << "back at the former one";
  EXPECT_EQ(store_->Load()->worker_descriptions.size(), 3u);
}

TEST_P(StoreTest, ARetractedSliceIsNotVerifiedAnyMore) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100), Slice(1, 0, {0, 10}), Slice(1, 0, {10, 20})});
  EXPECT_EQ(AppendOne(*store_, Verified(1, 0, {0, 10})), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, Verified(1, 0, {0, 10}, "sum", 3)), Verdict::kRepeat);
  EXPECT_EQ(AppendOne(*store_, Verified(1, 0, {10, 20})), Verdict::kStored);
  EXPECT_EQ(Verifications(*store_, 1, 0), "[0, 10) by 2 (avx2) [10, 20) by 2 (avx2)");
  AppendOne(*store_, SliceRetracted{{JobId{1}, 0}, {0, 10}, "wrong", At(1)});
  EXPECT_EQ(Verifications(*store_, 1, 0), "[10, 20) by 2 (avx2)");
  AppendOne(*store_, Slice(1, 0, {0, 10}));
  EXPECT_EQ(Verifications(*store_, 1, 0), "[10, 20) by 2 (avx2)");
  EXPECT_EQ(AppendOne(*store_, Verified(1, 0, {0, 10}, "sum", 4)), Verdict::kStored);
  EXPECT_EQ(Verifications(*store_, 1, 0), "[0, 10) by 4 (avx2) [10, 20) by 2 (avx2)");
  AppendAndWait(*store_, {Ended(1), JobDeleted{JobId{1}}});
  EXPECT_EQ(Verifications(*store_, 1, 0), "");
}

TEST_P(StoreTest, AQuarantineLastsUntilItIsPardonedAndMayComeAgain) {
  const auto quarantined = [this] {
    std::string text;
    const StoreContents contents = *store_->Load();
    for (const WorkerQuarantined& worker : contents.quarantined) absl::StrAppend(&text, worker.reason, " ");
    return text;
  };
  EXPECT_EQ(AppendOne(*store_, WorkerQuarantined{WorkerId{7}, "first", At(1)}), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, WorkerQuarantined{WorkerId{8}, "other", At(1)}), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, WorkerQuarantined{WorkerId{7}, "again", At(2)}), Verdict::kRepeat);
  EXPECT_EQ(quarantined(), "first other ");
  EXPECT_EQ(AppendOne(*store_, WorkerPardoned{WorkerId{7}, At(3)}), Verdict::kStored);
  EXPECT_EQ(AppendOne(*store_, WorkerPardoned{WorkerId{7}, At(4)}), Verdict::kUnknown);
  EXPECT_EQ(quarantined(), "other ");
  EXPECT_EQ(AppendOne(*store_, WorkerQuarantined{WorkerId{7}, "again", At(5)}), Verdict::kStored);
  EXPECT_EQ(quarantined(), "other again ");
}

TEST_P(StoreTest, TheNewestTwoStatesOfAJobAreKeptInTheOrderInWhichTheyWereSaved) {
  AppendAndWait(*store_, {Job(1), Job(2)});
  const auto rounds = [this] {
    std::string text;
    const StoreContents contents = *store_->Load();
    for (const StoredJob& job : contents.jobs) {
      for (const StateSaved& state : job.states) absl::StrAppend(&text, state.key.round, " ");
      absl::StrAppend(&text, ";");
    }
    return text;
  };
  EXPECT_EQ(AppendOne(*store_, Saved(3, 1)), Verdict::kUnknown);
  EXPECT_EQ(AppendAndWait(*store_, {Saved(1, 10), Saved(2, 11), Saved(1, 20), Saved(1, 30)}),
            Verdicts(4, Verdict::kStored));
  EXPECT_EQ(rounds(), "20 30 ;11 ;");
  EXPECT_EQ(AppendOne(*store_, Saved(1, 30)), Verdict::kRepeat);
  EXPECT_EQ(AppendOne(*store_, Saved(1, 25)), Verdict::kStored);  // The newest could not be read: it went on from 20.
  EXPECT_EQ(rounds(), "30 25 ;11 ;");
  EXPECT_EQ(AppendOne(*store_, Saved(1, 30)), Verdict::kStored);  // The same state once more.
  EXPECT_EQ(rounds(), "25 30 ;11 ;");
  EXPECT_EQ(AppendAndWait(*store_, {Ended(1), Saved(1, 40)}), (Verdicts{Verdict::kStored, Verdict::kUnknown}));
  EXPECT_EQ(rounds(), "25 30 ;11 ;");  // The final states of a job that ended stay until it is deleted.
  AppendOne(*store_, JobDeleted{JobId{1}});
  EXPECT_EQ(rounds(), "11 ;");
}

TEST_P(StoreTest, NothingIsAddedToAJobThatEnded) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 100), Slice(1, 0, {0, 10}), Ended(1)});
  EXPECT_EQ(AppendOne(*store_, Verified(1, 0, {0, 10})), Verdict::kUnknown);
  EXPECT_EQ(AppendAndWait(*store_, {Slice(1, 0, {0, 10}), Slice(1, 0, {10, 20}),
                                    SliceRetracted{{JobId{1}, 0}, {0, 10}, "", At(1)}, Opened(1, 1, 5),
                                    JobSettings{JobId{1}, true, 1, 1, At(1)}, Ended(1, "other")}),
            (Verdicts{Verdict::kRepeat, Verdict::kUnknown, Verdict::kUnknown, Verdict::kUnknown, Verdict::kUnknown,
                      Verdict::kDisagreement}));
  EXPECT_EQ(Slices(*store_, 1, 0), "[0, 10)=sum");
}

TEST_P(StoreTest, DeletedJobIsGoneAndItsIdIsNotGivenAgain) {
  AppendAndWait(*store_, {Job(1), Job(2), Opened(2, 0, 10), Slice(2, 0, {0, 10}), BlobNamed{JobId{2}, "d"}, Ended(2)});
  EXPECT_EQ(AppendOne(*store_, JobDeleted{JobId{2}}), Verdict::kStored);
  EXPECT_EQ(Slices(*store_, 2, 0), "");
  const StoreContents contents = *store_->Load();
  EXPECT_EQ(contents.jobs.size(), 1u);
  EXPECT_TRUE(contents.blobs.empty());
  EXPECT_EQ(contents.last_job, JobId{2});
  EXPECT_EQ(AppendOne(*store_, Job(2, "another request")), Verdict::kDisagreement);
  EXPECT_EQ(AppendOne(*store_, Slice(2, 0, {0, 5})), Verdict::kUnknown);
  EXPECT_EQ(AppendOne(*store_, Job(3, "request 2")), Verdict::kStored);
}

TEST_P(StoreTest, SubmitSentTwiceMakesOneJob) {
  EXPECT_EQ(AppendAndWait(*store_, {Job(1, "r"), Opened(1, 0, 10)}), Verdicts(2, Verdict::kStored));
  EXPECT_EQ(AppendAndWait(*store_, {Job(2, "r"), Opened(2, 0, 10)}), (Verdicts{Verdict::kRepeat, Verdict::kUnknown}));
  EXPECT_EQ(store_->Load()->last_job, JobId{1});
}

TEST_P(StoreTest, SameIdWithOtherContentsIsADisagreement) {
  AppendAndWait(*store_, {Job(1), Opened(1, 4, 10), WorkerSeen{WorkerId{1}, "i", "n", At(1)},
                          TokenCreated{TokenId{1}, "h", "t", Role::kViewer, At(1)}});
  const std::vector<Fact> facts = {Opened(1, 4, 11),
                                   Opened(1, 3, 10),
                                   WorkerSeen{WorkerId{2}, "i", "n", At(1)},
                                   WorkerSeen{WorkerId{1}, "j", "n", At(1)},
                                   TokenCreated{TokenId{1}, "g", "t", Role::kViewer, At(1)},
                                   TokenCreated{TokenId{2}, "h", "t", Role::kViewer, At(1)},
                                   Job(1, "other request")};
  EXPECT_EQ(AppendAndWait(*store_, facts), Verdicts(facts.size(), Verdict::kDisagreement));
}

TEST_P(StoreTest, FailedAppendChangesNothing) {
  const Answer answer = AppendAndWait(*store_, store_->epoch(), {Job(1), Opened(1, 0, uint64_t{1} << 63)});
  EXPECT_TRUE(absl::IsInvalidArgument(answer.status)) << answer.status;
  EXPECT_TRUE(answer.verdicts.empty());
  EXPECT_EQ(Describe(*store_), "last job 0\n");
  EXPECT_TRUE(absl::IsInvalidArgument(AppendAndWait(*store_, store_->epoch(), {Job(0)}).status));
}

TEST_P(StoreTest, LargestIndicesAreStored) {
  AppendAndWait(*store_, {Job(1), Opened(1, ~uint32_t{0}, kMaxStoredNumber)});
  EXPECT_EQ(AppendOne(*store_, Slice(1, ~uint32_t{0}, {0, kMaxStoredNumber})), Verdict::kStored);
  EXPECT_EQ(Slices(*store_, 1, ~uint32_t{0}), "[0, 9223372036854775807)=sum");
}

TEST_P(StoreTest, AppendOfAnotherEpochIsRefused) {
  const Epoch old{static_cast<uint64_t>(store_->epoch()) - 1};
  const Answer answer = AppendAndWait(*store_, old, {Job(1)});
  EXPECT_TRUE(absl::IsAborted(answer.status)) << answer.status;
  EXPECT_EQ(Describe(*store_), "last job 0\n");
}

TEST_P(StoreTest, DoneMayAppendAgain) {
  Notification finished;
  std::function<void(uint64_t)> next = [&](uint64_t id) {
    store_->Append(store_->epoch(), {Job(id)}, [&, id](const absl::Status& status, const Verdicts& verdicts) {
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(verdicts, Verdicts{Verdict::kStored});
      if (id == 20) {
        finished.Notify();
      } else {
        next(id + 1);
      }
    });
  };
  next(1);
  finished.WaitForNotification();
  EXPECT_EQ(store_->Load()->jobs.size(), 20u);
}

TEST_P(StoreTest, AppendWithoutFactsIsDoneAfterThoseBefore) {
  bool first_done = false;
  store_->Append(store_->epoch(), {Job(1)}, [&](const absl::Status&, const Verdicts&) { first_done = true; });
  store_->Append(store_->epoch(), {Job(2)}, nullptr);
  EXPECT_TRUE(AppendAndWait(*store_, std::vector<Fact>{}).empty());
  EXPECT_TRUE(first_done);
  EXPECT_EQ(store_->Load()->last_job, JobId{2});
}

TEST_P(StoreTest, ThreadsThatRaceForTheSameIndicesCommitEachOnce) {
  AppendAndWait(*store_, {Job(1), Opened(1, 0, 400)});
  Mutex mutex;
  int stored = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 100; ++i) {
        const uint64_t begin = (i * (2 * t + 1) * 4) % 400;
        const Verdict verdict = AppendOne(*store_, Slice(1, 0, {begin, begin + 4}, absl::StrCat(begin)));
        MutexLock lock(&mutex);
        if (verdict == Verdict::kStored) ++stored;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored, 100);
}

// Random slices and retractions against sets of intervals.
TEST_P(StoreTest, RandomSlicesFollowTheModel) {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    AppendAndWait(*store_, {Job(seed), Opened(seed, 0, 200)});
    IntervalSet committed;
    std::map<uint64_t, std::pair<Interval, std::string>> rows;
    for (int step = 0; step < 60; ++step) {
      std::vector<Fact> facts;
      Verdicts expected;
      for (int i = 0; i < 10; ++i) {
        Interval interval{random() % 200, 0};
        interval.end = std::min<uint64_t>(200, interval.begin + 1 + random() % 12);
        const bool again = !rows.empty() && random() % 3 == 0;
        if (again) interval = std::next(rows.begin(), random() % rows.size())->second.first;
        const auto row = rows.find(interval.begin);
        const bool exact = row != rows.end() && row->second.first == interval;
        if (random() % 4 == 0) {
          facts.push_back(SliceRetracted{{JobId{seed}, 0}, interval, "", At(1)});
          expected.push_back(exact ? Verdict::kStored : Verdict::kUnknown);
          if (exact) {
            rows.erase(row);
            committed.Remove(interval);
          }
          continue;
        }
        const std::string value = random() % 8 == 0 ? "odd" : "even";
        facts.push_back(Slice(seed, 0, interval, value));
        if (exact) {
          expected.push_back(row->second.second == value ? Verdict::kRepeat : Verdict::kDisagreement);
        } else if (committed.Overlaps(interval)) {
          expected.push_back(Verdict::kOverlap);
        } else {
          expected.push_back(Verdict::kStored);
          rows[interval.begin] = {interval, value};
          committed.Add(interval);
        }
      }
      ASSERT_EQ(AppendAndWait(*store_, std::move(facts)), expected) << "seed " << seed << ", step " << step;
    }
    std::string text;
    for (const auto& [begin, row] : rows) {
      absl::StrAppend(&text, text.empty() ? "" : " ", ToString(row.first), "=", row.second);
    }
    EXPECT_EQ(Slices(*store_, seed, 0), text) << "seed " << seed;
  }
}

TEST(MemoryStoreTest, HeldCommitsAreReleasedInOrder) {
  MemoryStore store;
  std::string log;
  store.HoldCommits();
  for (const uint64_t id : {1, 2}) {
    store.Append(store.epoch(), {Job(id)}, [&log, id](const absl::Status& status, const Verdicts&) {
      absl::StrAppend(&log, id, status.ok(), " ");
    });
  }
  EXPECT_EQ(log, "");
  EXPECT_TRUE(store.Load()->jobs.empty());
  store.ReleaseHeld();
  EXPECT_EQ(log, "11 21 ");
  EXPECT_EQ(AppendOne(store, Job(3)), Verdict::kStored);
}

TEST(MemoryStoreTest, CrashLosesWhatWasNotAcknowledgedAndRaisesTheEpoch) {
  MemoryStore store;
  AppendOne(store, Job(1));
  store.HoldCommits();
  bool called = false;
  store.Append(store.epoch(), {Job(2)}, [&called](const absl::Status&, const Verdicts&) { called = true; });
  store.LoseHeld();
  const Epoch old = store.epoch();
  EXPECT_GT(store.RaiseEpoch(), old);
  EXPECT_FALSE(called);
  EXPECT_EQ(store.Load()->last_job, JobId{1});
  EXPECT_TRUE(absl::IsAborted(AppendAndWait(store, old, {Job(2)}).status));
}

TEST(MemoryStoreTest, OneAppendFailsOnRequest) {
  MemoryStore store;
  store.FailNext(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(AppendAndWait(store, store.epoch(), {Job(1)}).status, absl::ResourceExhaustedError("full"));
  EXPECT_EQ(AppendOne(store, Job(1)), Verdict::kStored);
  EXPECT_TRUE(absl::IsFailedPrecondition(store.BackUp("copy")));
}

// "1 2+ 5": numbers of the sessions, those that are open with a +.
std::string Numbers(Store& store, const SessionPage& page) {
  const absl::StatusOr<std::vector<StoredSession>> sessions = store.ReadSessions(page);
  if (!sessions.ok()) return sessions.status().ToString();
  std::string text;
  for (const StoredSession& session : *sessions) {
    absl::StrAppend(&text, text.empty() ? "" : " ", session.opened.number, session.closed ? "" : "+");
  }
  return text;
}

TEST_P(StoreTest, SessionsAreReadPageByPage) {
  for (uint64_t number = 1; number <= 5; ++number) {
    AppendOne(*store_, Came(number, number, At(static_cast<int64_t>(number))));
    if (number != 2) {
      AppendOne(*store_, SessionClosed{number, SessionEnd::kLost, At(static_cast<int64_t>(number) + 10)});
    }
  }
  EXPECT_EQ(Numbers(*store_, {.max_sessions = 9}), "1 2+ 3 4 5");
  EXPECT_EQ(Numbers(*store_, {.max_sessions = 2}), "1 2+");
  EXPECT_EQ(Numbers(*store_, {.after = 2, .max_sessions = 2}), "3 4");
  EXPECT_EQ(Numbers(*store_, {.since = At(14), .max_sessions = 9}), "2+ 4 5");
  EXPECT_EQ(Numbers(*store_, {.after = ~uint64_t{0}, .max_sessions = 9}), "");
  const absl::StatusOr<StoreContents> contents = store_->Load();
  ASSERT_EQ(contents->open_sessions.size(), 1u);
  EXPECT_EQ(contents->open_sessions[0].number, 2u);
  EXPECT_EQ(contents->last_session, 5u);
}

TEST_P(StoreTest, ASessionEndsOnceAndItsNumberIsTaken) {
  AppendAndWait(*store_, {Came(1, 1, At(1)), SessionClosed{1, SessionEnd::kLost, At(5)}});
  EXPECT_EQ(AppendAndWait(*store_, {SessionClosed{1, SessionEnd::kDrained, At(5)}, Came(1, 2, At(1)), Came(1, 1, At(2)),
                                    SessionClosed{2, SessionEnd::kLost, At(5)}}),
            (Verdicts{Verdict::kDisagreement, Verdict::kDisagreement, Verdict::kDisagreement, Verdict::kUnknown}));
}

TEST_P(StoreTest, ARunOfTheCoordinatorOnlyGrows) {
  EXPECT_EQ(store_->Load()->last_ran_until, absl::InfinitePast());
  EXPECT_EQ(AppendAndWait(*store_, {CoordinatorRan{At(1), At(3)}, CoordinatorRan{At(1), At(2)},
                                    CoordinatorRan{At(1), At(4)}, CoordinatorRan{At(9), At(9)}}),
            (Verdicts{Verdict::kStored, Verdict::kRepeat, Verdict::kStored, Verdict::kStored}));
  const absl::StatusOr<std::vector<CoordinatorRan>> runs = store_->ReadRuns(absl::InfinitePast());
  ASSERT_EQ(runs->size(), 2u);
  EXPECT_EQ((*runs)[0].until, At(4));
  EXPECT_EQ(store_->ReadRuns(At(5))->size(), 1u);
  EXPECT_EQ(store_->Load()->last_ran_until, At(9));
}

TEST_P(StoreTest, OldSessionsAreForgotten) {
  AppendAndWait(*store_, {Came(1, 1, At(1)), Came(2, 2, At(1)), Came(3, 3, At(1)),
                          SessionClosed{1, SessionEnd::kLost, At(5)}, SessionClosed{2, SessionEnd::kLost, At(9)},
                          CoordinatorRan{At(1), At(2)}, CoordinatorRan{At(3), At(8)}});
  EXPECT_EQ(AppendOne(*store_, SessionsForgotten{At(7)}), Verdict::kStored);
  EXPECT_EQ(Numbers(*store_, {.max_sessions = 9}), "2 3+");
  EXPECT_EQ(store_->ReadRuns(absl::InfinitePast())->size(), 1u);
  EXPECT_EQ(AppendOne(*store_, SessionsForgotten{At(7)}), Verdict::kRepeat);
}

TEST_P(StoreTest, OnlySoManySessionsAreKept) {
  AppendAndWait(*store_, {Came(1, 1, At(1)), Came(2, 1, At(2)), Came(kKeptSessions, 1, At(3))});
  EXPECT_EQ(Numbers(*store_, {.max_sessions = 9}), "1+ 2+ 100000+");
  AppendOne(*store_, Came(kKeptSessions + 1, 1, At(4)));
  EXPECT_EQ(Numbers(*store_, {.max_sessions = 9}), "2+ 100000+ 100001+");
}

}  // namespace
}  // namespace potluck
