#include "worker/lease_book.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

const RoundKey kRound{JobId{1}, 0};
const LeaseId kFirst{1, 1}, kSecond{1, 2};

// "held 1.1 [2, 8); free 1; slices [0, 2)"
std::string ToString(const ExchangeRequest& request) {
  std::string text;
  for (const HeldLease& held : request.report.held)
    absl::StrAppend(&text, "held ", ToString(held.lease), " ", ToString(held.rest), "; ");
  for (const uint32_t free : request.report.free_capacity) absl::StrAppend(&text, "free ", free, "; ");
  for (const ReportedSlice& slice : request.slices) absl::StrAppend(&text, "slice ", ToString(slice.interval), "; ");
  if (request.report.draining) absl::StrAppend(&text, "draining; ");
  return text;
}

class LeaseBookTest : public testing::Test {
 protected:
  ExchangeRequest Next() { return book_.BuildRequest(SessionId{1}, ++seq_); }
  LeaseBook::Actions Apply(const ExchangeRequest& request, const Orders& orders) {
    ExchangeReply reply;
    reply.seq = request.seq;
    reply.answers.resize(request.slices.size());
    reply.orders = orders;
    return book_.Apply(request, reply);
  }
  void Grant(LeaseId lease, Interval interval) {
    Orders orders;
    orders.granted.push_back({lease, kRound, 0, interval});
    Apply(Next(), orders);
  }
  void Start(LeaseId lease) {
    ASSERT_EQ(book_.NextToStart(0)->id, lease);
    book_.Started(lease);
  }
  void Finish(LeaseId lease, Interval interval, const std::string& payload = "x") {
    ReportedSlice slice;
    slice.round = kRound;
    slice.lease = lease;
    slice.interval = interval;
    slice.payload = payload;
    book_.SliceDone(slice);
  }

  // One that is handed over apart.
  void FinishLarge(LeaseId lease, Interval interval) {
    ReportedSlice slice;
    slice.round = kRound;
    slice.lease = lease;
    slice.interval = interval;
    // The book never looks into it.
    const std::shared_ptr<int> result = std::make_shared<int>();
    book_.SliceDone(slice,
                    std::shared_ptr<const ResultFile>(result, reinterpret_cast<const ResultFile*>(result.get())));
    results_.push_back(result);
  }
  // "1.1 [0, 2)", or "none".
  std::string NextToHandOver() {
    const std::optional<LeaseBook::HandOver> next = book_.NextToHandOver();
    return next ? absl::StrCat(ToString(next->lease), " ", ToString(next->interval)) : "none";
  }
  // Of the large results, how many the book holds.
  size_t ResultsHeld() const {
    size_t held = 0;
    for (const std::weak_ptr<int>& result : results_) held += result.expired() ? 0 : 1;
    return held;
  }

  std::vector<std::weak_ptr<int>> results_;
  LeaseBook book_{1, 2, 2000};
  uint64_t seq_ = 0;
};

TEST_F(LeaseBookTest, LeasesOfASlotRunOneAfterTheOther) {
  Grant(kFirst, {0, 8});
  Grant(kSecond, {8, 16});
  Start(kFirst);
  EXPECT_EQ(book_.NextToStart(0), std::nullopt);
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 8); held 1.2 [8, 16); free 0; ");
  book_.RunOver(kFirst);
  Start(kSecond);
}

TEST_F(LeaseBookTest, ASliceIsSentUntilItIsAcknowledged) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  Finish(kFirst, {0, 2});
  EXPECT_EQ(ToString(Next()), "held 1.1 [2, 8); free 1; slice [0, 2); ");  // Its answer is lost.
  Finish(kFirst, {2, 4});
  const ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request), "held 1.1 [4, 8); free 1; slice [0, 2); slice [2, 4); ");
  Apply(request, {});
  EXPECT_EQ(book_.unacknowledged(), 0u);
}

TEST_F(LeaseBookTest, WhatDoesNotFitIntoAMessageIsStillHeld) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  Finish(kFirst, {0, 2}, std::string(1500, 'x'));
  Finish(kFirst, {2, 4}, std::string(1500, 'x'));
  const ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request), "held 1.1 [2, 8); free 1; slice [0, 2); ");
  EXPECT_TRUE(book_.HasNews());
  Apply(request, {});
  EXPECT_EQ(ToString(Next()), "held 1.1 [4, 8); free 1; slice [2, 4); ");
}

TEST_F(LeaseBookTest, ARevokedLeaseIsCancelledAndALateSliceOfItStillReported) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  Orders orders;
  orders.revoked = {kFirst};
  EXPECT_EQ(Apply(Next(), orders).cancel, std::vector<LeaseId>{kFirst});
  Finish(kFirst, {0, 2});
  EXPECT_EQ(ToString(Next()), "free 2; slice [0, 2); ");
}

TEST_F(LeaseBookTest, AWaitingLeaseShrinksAtOnceAndARunningOneWhenItsExecutorHasAgreed) {
  Grant(kFirst, {0, 8});
  Grant(kSecond, {8, 16});
  Start(kFirst);
  Orders orders;
  orders.shrunk = {{kFirst, 2}, {kSecond, 12}};
  const LeaseBook::Actions actions = Apply(Next(), orders);
  ASSERT_EQ(actions.shrink.size(), 1u);
  EXPECT_EQ(actions.shrink[0].lease, kFirst);
  ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request), "held 1.1 [0, 8); held 1.2 [8, 12); free 0; ");
  EXPECT_EQ(request.report.held[1].shrunk_to, 12u);
  book_.Shrunk(kFirst, 2, 4);  // It was computing up to 4.
  request = Next();
  EXPECT_EQ(ToString(request), "held 1.1 [0, 4); held 1.2 [8, 12); free 0; ");
  EXPECT_EQ(request.report.held[0].shrunk_to, 2u);
  EXPECT_TRUE(Apply(request, orders).shrink.empty());  // Asked again: done already.
}

TEST_F(LeaseBookTest, AFailedRunGoesBackByNotBeingListed) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  book_.RunOver(kFirst);
  EXPECT_EQ(ToString(Next()), "free 2; ");
}

TEST_F(LeaseBookTest, ASlotThatCannotComputeTakesNothing) {
  Grant(kFirst, {0, 8});
  book_.SetUsable(0, false);
  EXPECT_EQ(ToString(Next()), "free 0; ");
  book_.SetUsable(0, true);
  EXPECT_EQ(ToString(Next()), "free 2; ");
}

TEST_F(LeaseBookTest, DrainingFinishesWhatRunsAndTakesNothingNew) {
  Grant(kFirst, {0, 8});
  Grant(kSecond, {8, 16});
  Start(kFirst);
  book_.StartDraining();
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 8); free 0; draining; ");
  Grant(kSecond, {8, 16});
  book_.Shrunk(kFirst, 0, 2);
  Finish(kFirst, {0, 2});
  book_.RunOver(kFirst);
  EXPECT_FALSE(book_.IsSettled());
  Apply(Next(), {});
  EXPECT_TRUE(book_.IsSettled());
}

// ---- Large results

TEST_F(LeaseBookTest, ALargeResultIsReportedOnceItIsHandedOverAndItsLeaseHeldUntilThen) {
  Grant(kFirst, {0, 4});
  Start(kFirst);
  FinishLarge(kFirst, {0, 4});
  book_.RunOver(kFirst);
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 4); free 2; ");  // The slot is free for another.
  EXPECT_FALSE(book_.HasNews());
  EXPECT_EQ(NextToHandOver(), "1.1 [0, 4)");
  EXPECT_EQ(NextToHandOver(), "none");
  EXPECT_FALSE(book_.IsSettled());
  book_.HandedOver(kFirst, {0, 4}, "digest");
  EXPECT_TRUE(book_.HasNews());
  const ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request), "free 2; slice [0, 4); ");
  EXPECT_TRUE(request.slices[0].is_put);
  EXPECT_EQ(request.slices[0].digest, "digest");
  EXPECT_EQ(ResultsHeld(), 1u);
  Apply(request, {});
  EXPECT_TRUE(book_.IsSettled());
  EXPECT_EQ(ResultsHeld(), 0u);
}

TEST_F(LeaseBookTest, SlicesAfterALargeOneWaitForItAndOthersDoNot) {
  Grant(kFirst, {0, 8});
  Grant(kSecond, {8, 16});
  Start(kFirst);
  FinishLarge(kFirst, {0, 2});
  Finish(kFirst, {2, 4});
  FinishLarge(kFirst, {4, 8});
  book_.RunOver(kFirst);
  Start(kSecond);
  Finish(kSecond, {8, 10});
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 8); held 1.2 [10, 16); free 1; slice [8, 10); ");
  EXPECT_EQ(NextToHandOver(), "1.1 [0, 2)");
  EXPECT_EQ(NextToHandOver(), "none");  // One at a time.
  book_.HandedOver(kFirst, {0, 2}, "digest");
  EXPECT_EQ(NextToHandOver(), "1.1 [4, 8)");
  const ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request),
            "held 1.1 [4, 8); held 1.2 [10, 16); free 1; slice [0, 2); slice [2, 4); slice [8, 10); ");
  Apply(request, {});
  EXPECT_EQ(book_.unacknowledged(), 1u);
}

TEST_F(LeaseBookTest, WhatAFailedRunDidNotReachGoesBackAtOnce) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  FinishLarge(kFirst, {0, 2});
  book_.RunOver(kFirst);
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 2); free 2; ");
}

TEST_F(LeaseBookTest, AResultThatIsNotThereIsHandedOverAgain) {
  Grant(kFirst, {0, 4});
  Start(kFirst);
  FinishLarge(kFirst, {0, 4});
  book_.RunOver(kFirst);
  NextToHandOver();
  book_.HandedOver(kFirst, {0, 4}, "digest");
  const ExchangeRequest request = Next();
  ExchangeReply reply;
  reply.answers = {{SliceVerdict::kNotHere, ""}};
  book_.Apply(request, reply);
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 4); free 2; ");
  EXPECT_EQ(NextToHandOver(), "1.1 [0, 4)");
  book_.HandedOver(kFirst, {0, 4}, "digest");
  book_.SessionIsNew();  // It forgot again.
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 4); free 2; ");
  EXPECT_EQ(NextToHandOver(), "1.1 [0, 4)");
}

TEST_F(LeaseBookTest, ARevokedLeasesLargeResultIsDroppedUnlessItIsThereAlready) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  FinishLarge(kFirst, {0, 2});
  FinishLarge(kFirst, {2, 4});
  NextToHandOver();
  book_.HandedOver(kFirst, {0, 2}, "digest");
  NextToHandOver();
  Orders orders;
  orders.revoked = {kFirst};
  ExchangeRequest request = Next();
  request.slices.clear();  // Its answer says nothing of the slice.
  EXPECT_EQ(Apply(request, orders).cancel, std::vector<LeaseId>{kFirst});
  EXPECT_EQ(ResultsHeld(), 1u);
  book_.HandedOver(kFirst, {2, 4}, "digest");  // Crossed the revocation.
  FinishLarge(kFirst, {4, 6});                 // So did this.
  EXPECT_EQ(ToString(Next()), "free 2; slice [0, 2); ");
  EXPECT_EQ(NextToHandOver(), "none");
}

TEST_F(LeaseBookTest, ALeaseWhoseResultIsNotWantedIsHandedBack) {
  Grant(kFirst, {0, 8});
  Start(kFirst);
  FinishLarge(kFirst, {0, 2});
  NextToHandOver();
  book_.Drop(kFirst);
  EXPECT_EQ(ToString(Next()), "free 2; ");
  EXPECT_TRUE(book_.IsSettled());
}

TEST_F(LeaseBookTest, AShrinkOfAFinishedLeaseIsDealtWithAtOnce) {
  Grant(kFirst, {0, 4});
  Start(kFirst);
  FinishLarge(kFirst, {0, 4});
  book_.RunOver(kFirst);
  Orders orders;
  orders.shrunk = {{kFirst, 2}};
  EXPECT_TRUE(Apply(Next(), orders).shrink.empty());
  const ExchangeRequest request = Next();
  EXPECT_EQ(ToString(request), "held 1.1 [0, 4); free 2; ");
  EXPECT_EQ(request.report.held[0].shrunk_to, 2u);
}

TEST_F(LeaseBookTest, ASlotWhoseResultsPileUpTakesLess) {
  for (uint64_t i = 0; i < 4; ++i) {
    const LeaseId lease{2, i};
    Grant(lease, {i, i + 1});
    Start(lease);
    FinishLarge(lease, {i, i + 1});
    book_.RunOver(lease);
    EXPECT_EQ(Next().report.free_capacity, std::vector<uint32_t>{i < 2 ? 2u : 3u - static_cast<uint32_t>(i)});
  }
}

TEST_F(LeaseBookTest, ADrainingWorkerHandsItsLargeResultsOver) {
  Grant(kFirst, {0, 4});
  Start(kFirst);
  FinishLarge(kFirst, {0, 4});
  book_.RunOver(kFirst);
  book_.StartDraining();
  EXPECT_EQ(ToString(Next()), "held 1.1 [0, 4); free 0; draining; ");
  NextToHandOver();
  book_.HandedOver(kFirst, {0, 4}, "digest");
  Apply(Next(), {});
  EXPECT_TRUE(book_.IsSettled());
}

}  // namespace
}  // namespace potluck
