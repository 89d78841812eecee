#include "cli/doctor_report.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace potluck {
namespace {

TEST(DoctorReportTest, ARowIsALineAndItsRemedyAnother) {
  EXPECT_EQ(RowText(OkRow("cpu", "a good one")), "ok    cpu           a good one\n");
  EXPECT_EQ(RowText(FailRow("tcp", "nobody\nthere", "call\x1b them")),
            "fail  tcp           nobody?there\n                    -> call? them\n");
  EXPECT_EQ(RowText(WarnRow("throughput", "slow", "")), "warn  throughput    slow\n");
  EXPECT_EQ(RowText(SkipRow("keepalive", "not tried")), "skip  keepalive     not tried\n");
}

TEST(DoctorReportTest, TheExitCodeIsThatOfWhatFailedAndTheMoreTellingOneWins) {
  DoctorReport report;
  report.Add(OkRow("cpu", ""));
  report.Add(WarnRow("gpu", "", ""));
  report.Add(SkipRow("keepalive", ""));
  EXPECT_EQ(report.ExitCode(), kExitOk);
  report.Add(FailRow("cache", "", ""));
  EXPECT_EQ(report.ExitCode(), kExitFailed);
  report.Add(FailRow("token", "", "", kExitRefused));
  EXPECT_EQ(report.ExitCode(), kExitRefused);
  report.Add(FailRow("tcp", "", "", kExitUnreachable));
  EXPECT_EQ(report.ExitCode(), kExitRefused);
}

TEST(DoctorReportTest, OneClearWayTurnsWhatFailedOnOthersIntoWarnings) {
  DoctorReport report;
  report.AddWays({{OkRow("tcp", "there"), SkipRow("keepalive", "not tried")},
                  {FailRow("tcp", "refused", "forward it", kExitUnreachable), SkipRow("tls", "not tried")}});
  EXPECT_EQ(report.ExitCode(), kExitOk);
  EXPECT_EQ(report.rows()[2].status, CheckStatus::kWarn);
  EXPECT_EQ(report.rows()[2].message, "refused; another address of the join string serves");
  DoctorReport dark;
  dark.AddWays({{FailRow("tcp", "refused", "", kExitUnreachable)}, {FailRow("tls", "other key", "", kExitRefused)}});
  EXPECT_EQ(dark.ExitCode(), kExitUnreachable);
}

TEST(DoctorReportTest, EveryRowIsShownAsItIsAddedAndIsInTheJson) {
  std::string shown;
  DoctorReport report([&shown](const CheckRow& row) { shown += row.check + " "; });
  CheckRow row = FailRow("cache", "no disk space", "free some");
  row.data = {{"free_bytes", 0}};
  report.Add(OkRow("cpu", "fine"));
  report.Add(row);
  EXPECT_EQ(shown, "cpu cache ");
  const nlohmann::ordered_json json = report.Json();
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["exit_code"], kExitFailed);
  ASSERT_EQ(json["checks"].size(), 2u);
  EXPECT_EQ(json["checks"][1].dump(), R"({"check":"cache","status":"fail","message":"no disk space",)"
                                      R"("remedy":"free some","data":{"free_bytes":0}})");
  EXPECT_EQ(report.Summary(), "1 failed, 0 warnings");
  EXPECT_EQ(DoctorReport().Summary(), "all is well");
}

}  // namespace
}  // namespace potluck
