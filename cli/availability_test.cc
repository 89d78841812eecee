// Histories made up by hand, and what the report finds in them.
#include "cli/availability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/timeline_svg.h"

namespace potluck {
namespace {

using testing::HasSubstr;
using testing::Not;
using Status = v1::SessionStatus;

// Hours since the history began.
absl::Time At(double hours) { return absl::FromUnixSeconds(1'800'000'000) + absl::Hours(hours); }

class AvailabilityTest : public testing::Test {
 protected:
  AvailabilityTest() {
    presence_.ran = {{At(0), At(100)}};
    presence_.now = At(100);
  }

  // A stay of the worker; `to` less than 0: it is still there.
  Status& Stay(double from, double to, Status::End end = Status::LOST, uint64_t worker = 1) {
    Status& stay = presence_.stays.emplace_back();
    stay.set_number(presence_.stays.size());
    stay.set_worker(worker);
    stay.set_name(absl::StrCat("worker-", worker));
    stay.set_place("machine");
    stay.set_token_name("lab");
    stay.set_gpu(Status::NOT_SOUGHT);
    stay.set_opened_unix_ms(absl::ToUnixMillis(At(from)));
    if (to < 0) return stay;
    stay.set_closed_unix_ms(absl::ToUnixMillis(At(to)));
    stay.set_end(end);
    return stay;
  }
  // On Colab, where a session began at `began`.
  Status& Colab(double began, double from, double to, Status::Gpu gpu = Status::HAS, Status::End end = Status::LOST) {
    Status& stay = Stay(from, to, end);
    stay.set_place("colab");
    stay.set_gpu(gpu);
    stay.set_began_unix_ms(absl::ToUnixMillis(At(began)));
    return stay;
  }
  Availability Find(LaneOf by = LaneOf::kInstallation, double since = 0) const {
    return FindAvailability(presence_, At(since), by);
  }
  // "0+3 lost, 5+2 open": sessions of the first lane, from which hour and for how many.
  std::string Sessions(const Availability& found) const {
    std::string text;
    if (found.lanes.empty()) return text;
    for (const PlatformSession& session : found.lanes[0].sessions) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", absl::ToDoubleHours(session.start() - At(0)), "+",
                      absl::ToDoubleHours(session.length()),
                      session.is_open()  ? " open"
                      : session.is_cut() ? " cut"
                                         : "");
    }
    return text;
  }
  static std::string Text(const Spread& spread) {
    return absl::StrCat(spread.count, ": ", absl::ToDoubleHours(spread.least), " ", absl::ToDoubleHours(spread.median),
                        " ", absl::ToDoubleHours(spread.most), " of ", absl::ToDoubleHours(spread.total));
  }

  Presence presence_;
};

TEST_F(AvailabilityTest, NobodyWasThere) {
  const Availability found = Find();
  EXPECT_TRUE(found.lanes.empty());
  EXPECT_THAT(AvailabilityText(found), HasSubstr("No worker was at the table."));
  EXPECT_THAT(AvailabilitySvg(found), HasSubstr("nobody was at the table"));
}

// 12 h, restarted at once; 3 h; no GPU for 5 h, though a CPU could be had; then as before.
TEST_F(AvailabilityTest, ThePapersOwnSequence) {
  Colab(0, 0, 12);
  Colab(12, 12.1, 15.1);
  Colab(15.2, 15.2, 20.1, Status::REFUSED, Status::DRAINED);
  Colab(20.1, 20.1, 32.1);
  Colab(32.2, 32.2, 35.2);
  presence_.now = At(35.2);
  const Availability found = Find();
  ASSERT_EQ(found.lanes.size(), 1u);
  const AvailabilityLane& lane = found.lanes[0];
  EXPECT_EQ(lane.sessions.size(), 5u);
  EXPECT_EQ(lane.with_gpu, 4u);
  EXPECT_EQ(lane.refused, 1u);
  EXPECT_NEAR(absl::ToDoubleHours(lane.lengths.most), 12, 1e-6);
  EXPECT_NEAR(absl::ToDoubleHours(lane.lengths.least), 3, 1e-6);
  EXPECT_EQ(lane.refusals.count, 1u);
  EXPECT_NEAR(absl::ToDoubleHours(lane.refusals.most), 5, 1e-6);
  EXPECT_FALSE(lane.is_refused_now);
  EXPECT_EQ(lane.gap_lengths.count, 3u);
  EXPECT_THAT(AvailabilityText(found), HasSubstr("longest session                   12 h          12 h\n"));
  EXPECT_THAT(AvailabilityText(found), HasSubstr("longest without a GPU              5 h           5 h\n"));
  EXPECT_THAT(AvailabilitySvg(found), HasSubstr("The paper, 2018"));
}

TEST_F(AvailabilityTest, LengthsAndGapsHaveAMedian) {
  Stay(0, 2);
  Stay(3, 7);
  Stay(9, 10);
  Stay(20, 23);
  EXPECT_EQ(Sessions(Find()), "0+2, 3+4, 9+1, 20+3");
  EXPECT_EQ(Text(Find().lanes[0].lengths), "4: 1 2.5 4 of 10");
  EXPECT_EQ(Text(Find().lanes[0].gap_lengths), "3: 1 2 10 of 13");
}

TEST_F(AvailabilityTest, AShortLossOfTheConnectionIsNoEnd) {
  Stay(0, 1, Status::LOST);
  Stay(1.1, 2, Status::REPLACED);
  Stay(2.15, -1);
  EXPECT_EQ(Sessions(Find()), "0+100 open");
  EXPECT_EQ(Find().lanes[0].gaps.size(), 0u);
  EXPECT_NEAR(Find().lanes[0].share, 0.9975, 1e-6);  // Which counts all the same.
}

TEST_F(AvailabilityTest, WhoLeavesEndsItsSessionHoweverSoonItIsBack) {
  Stay(0, 1, Status::DRAINED);
  Stay(1.05, 3);
  EXPECT_EQ(Sessions(Find()), "0+1, 1.05+1.95");
}

TEST_F(AvailabilityTest, AHostedSessionIsOneHoweverOftenAWorkerLeaves) {
  Colab(0, 1, 2, Status::REFUSED, Status::DRAINED);
  Colab(0.02, 5, 8, Status::HAS);  // The clocks differ a little.
  const Availability found = Find();
  EXPECT_EQ(Sessions(found), "0+8");
  EXPECT_EQ(found.lanes[0].with_gpu, 1u);
  EXPECT_EQ(found.lanes[0].gaps.size(), 0u);
  EXPECT_NEAR(found.lanes[0].share, 4.0 / 99, 1e-6);
}

TEST_F(AvailabilityTest, AnotherHostedSessionIsAnotherHoweverSoonItBegins) {
  Colab(0, 0, 12);
  Colab(12, 12.01, 13);
  EXPECT_EQ(Sessions(Find()), "0+12, 12+1");
}

TEST_F(AvailabilityTest, AMachineThatWasStartedAgainIsAnotherSession) {
  Stay(0, 1).set_began_unix_ms(absl::ToUnixMillis(At(-50)));
  Stay(1.01, 2).set_began_unix_ms(absl::ToUnixMillis(At(1)));
  Stay(2.01, 3).set_began_unix_ms(absl::ToUnixMillis(At(1)));
  EXPECT_EQ(Sessions(Find()), "0+1, 1.01+1.99");
}

TEST_F(AvailabilityTest, WhenTheCoordinatorWasAwayIsNobodysGap) {
  presence_.ran = {{At(0), At(10)}, {At(40), At(99)}};
  Stay(0, 10, Status::AWAY);
  Stay(40.05, 50, Status::DRAINED);  // Goes on.
  Stay(0, 10, Status::STOPPED, 2);
  Stay(42, 44, Status::LOST, 2);  // Was late.
  const Availability found = Find();
  EXPECT_EQ(Sessions(found), "0+50");
  EXPECT_EQ(Text(found.lanes[1].gap_lengths), "1: 2 2 2 of 2");
  EXPECT_EQ(found.lanes[1].sessions[0].is_cut(), true);
  EXPECT_EQ(Text(found.lanes[1].lengths), "1: 2 2 2 of 2");  // What was cut is not known.
  EXPECT_NEAR(found.lanes[1].share, 12.0 / 70, 1e-6);
  ASSERT_EQ(found.away.size(), 1u);
  EXPECT_EQ(found.away[0].length(), absl::Hours(30));
}

TEST_F(AvailabilityTest, AGapThatIsOnlyTheCoordinatorsIsNone) {
  presence_.ran = {{At(0), At(10)}, {At(40), At(99)}};
  Stay(0, 10, Status::DRAINED);
  Stay(40, 50);
  EXPECT_TRUE(Find().lanes[0].gaps.empty());
}

TEST_F(AvailabilityTest, ARefusalThatGoesOnIsToldAsSuch) {
  Colab(90, 90, 92);
  Colab(93, 93, -1, Status::REFUSED);
  const Availability found = Find();
  EXPECT_TRUE(found.lanes[0].is_refused_now);
  EXPECT_EQ(Text(found.lanes[0].refusals), "1: 8 8 8 of 8");
  EXPECT_THAT(AvailabilityText(found), HasSubstr("8 h so far"));
}

TEST_F(AvailabilityTest, ARefusalWhileAnotherOfTheLaneHasAGpuIsNoTimeWithout) {
  Colab(0, 0, 12).set_worker(7);
  Colab(1, 1, 2, Status::REFUSED);
  EXPECT_EQ(Find(LaneOf::kToken).lanes[0].refusals.count, 0u);
}

TEST_F(AvailabilityTest, ANotebookThatLosesItsDiskIsFollowedByNameOrToken) {
  for (uint64_t i = 0; i < 3; ++i) {
    Status& stay =
        Colab(20.0 * static_cast<double>(i), 20.0 * static_cast<double>(i), 20.0 * static_cast<double>(i) + 12);
    stay.set_worker(i + 1);
    stay.set_name("colab");
    stay.set_token_name("ada's notebook");
  }
  EXPECT_EQ(Find().lanes.size(), 3u);
  for (const LaneOf by : {LaneOf::kName, LaneOf::kToken, LaneOf::kPlace}) {
    const Availability found = Find(by);
    ASSERT_EQ(found.lanes.size(), 1u);
    EXPECT_EQ(Text(found.lanes[0].gap_lengths), "2: 8 8 8 of 16");
  }
  EXPECT_EQ(Find(LaneOf::kToken).lanes[0].name, "ada's notebook");
  EXPECT_THAT(AvailabilityText(Find(LaneOf::kPlace)), HasSubstr("\nplace  sessions  GPU "));
}

TEST_F(AvailabilityTest, WhatEndedBeforeIsLeftOutAndWhatReachesInIsTakenWhole) {
  Stay(0, 10, Status::DRAINED);
  Stay(40, 60, Status::DRAINED);
  const Availability found = Find(LaneOf::kInstallation, 50);
  EXPECT_EQ(Sessions(found), "40+20");
  EXPECT_EQ(found.window.from, At(50));
  EXPECT_NEAR(found.lanes[0].share, 0.2, 1e-6);
}

TEST_F(AvailabilityTest, HistoriesThatCannotBeDoNoHarm) {
  presence_.ran.clear();
  presence_.now = At(-5);
  Stay(3, 1);
  Stay(3, -1);
  Stay(2, 2).set_gpu(static_cast<Status::Gpu>(99));
  Stay(1, 2, static_cast<Status::End>(99), 2).set_name("\x1b[31m<b>\xff");
  const Availability found = Find();
  const std::string svg = AvailabilitySvg(found);
  EXPECT_THAT(svg, Not(HasSubstr("<b>")));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(AvailabilityText(found), Not(HasSubstr("\x1b")));
  EXPECT_TRUE(nlohmann::json::accept(AvailabilityJson(found)));
}

TEST_F(AvailabilityTest, TheJsonHasAllOfIt) {
  presence_.ran = {{At(0), At(10)}, {At(12), At(100)}};
  Colab(-1, 0, 5);
  Colab(7, 7, -1, Status::REFUSED);
  const auto json = nlohmann::json::parse(AvailabilityJson(Find()));
  EXPECT_EQ(json["by"], "installation");
  EXPECT_EQ(json["coordinator"]["away_seconds"], 2 * 3600);
  EXPECT_EQ(json["coordinator"]["away"].size(), 1u);
  const auto& lane = json["lanes"].at(0);
  EXPECT_EQ(lane["name"], "worker-1");
  EXPECT_EQ(lane["place"], "colab");
  EXPECT_EQ(lane["sessions"], 2);
  EXPECT_EQ(lane["with_gpu"], 1);
  EXPECT_EQ(lane["gpu_refused"], 1);
  EXPECT_EQ(lane["lengths"]["count"], 1);
  EXPECT_EQ(lane["lengths"]["median_seconds"], 6 * 3600);
  EXPECT_EQ(lane["gaps"]["max_seconds"], 2 * 3600);
  EXPECT_EQ(lane["gaps"]["between"].at(0)["from_unix_ms"], absl::ToUnixMillis(At(5)));
  EXPECT_EQ(lane["ended"], nlohmann::json({{"lost", 1}}));
  EXPECT_EQ(lane["open"], 1);
  EXPECT_EQ(lane["history"].at(1)["left_unix_ms"], nlohmann::json());
  EXPECT_EQ(lane["history"].at(0)["began_unix_ms"], absl::ToUnixMillis(At(-1)));
  EXPECT_EQ(json["all"]["sessions"], 2);
  EXPECT_EQ(json["paper"]["gpu_refusal_seconds"], 5 * 3600);
}

TEST_F(AvailabilityTest, TheTextFitsATerminal) {
  for (uint64_t i = 1; i < 5; ++i) {
    Colab(0, 3.21 * static_cast<double>(i), 9.87 * static_cast<double>(i)).set_worker(i);
    presence_.stays.back().set_name(std::string(64, 'n'));
    for (const Status::End end : {Status::DRAINED, Status::LOST}) Stay(50, 51, end, i);
  }
  const std::string text = AvailabilityText(Find());
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    EXPECT_LE(end - begin, 110u) << text.substr(begin, end - begin);
  }
}

TEST(ShortTimeTest, FewDigitsAndAUnit) {
  EXPECT_EQ(ShortTime(absl::ZeroDuration()), "0 s");
  EXPECT_EQ(ShortTime(absl::Seconds(4.25)), "4.2 s");
  EXPECT_EQ(ShortTime(absl::Seconds(59)), "59 s");
  EXPECT_EQ(ShortTime(absl::Minutes(20)), "20 min");
  EXPECT_EQ(ShortTime(absl::Minutes(59.9)), "1 h");
  EXPECT_EQ(ShortTime(absl::Hours(12)), "12 h");
  EXPECT_EQ(ShortTime(absl::Hours(3.5)), "3.5 h");
  EXPECT_EQ(ShortTime(absl::Hours(24 * 5)), "5 d");
  EXPECT_EQ(ShortTime(-absl::Hours(1)), "0 s");
}

}  // namespace
}  // namespace potluck
