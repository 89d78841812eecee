// `potluck report availability` after real joins, leavings and losses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

nlohmann::json Report(Table& table, const std::vector<std::string>& flags = {}) {
  std::vector<std::string> arguments = {"report", "availability", "--json", "--coordinator",
                                        table.directory() + "/state/admin.join"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  Process& process = table.Run(arguments);
  EXPECT_EQ(process.WaitForExit(kPatience), Exit{}) << process.errors();
  return nlohmann::json::parse(process.output(), nullptr, /*allow_exceptions=*/false);
}

// Of the only lane.
size_t Stays(const nlohmann::json& report, size_t session) {
  if (!report.is_object() || report["lanes"].size() != 1) return 0;
  const nlohmann::json& history = report["lanes"][0]["history"];
  return session < history.size() ? history[session]["stays"].size() : 0;
}

bool WaitForStays(Table& table, size_t session, size_t stays) {
  return WaitUntil(absl::StrCat("session ", session, " has ", stays, " stays"),
                   [&] { return Stays(Report(table), session) == stays; });
}

TEST(AvailabilityTest, TheReportTellsOfLeavingLossAndACoordinatorThatWasKilled) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& first = table.Join("lab");
  ASSERT_TRUE(WaitForStays(table, 0, 1));
  ASSERT_TRUE(first.Signal(SIGINT));
  ASSERT_EQ(first.WaitForExit(kPatience), Exit{});

  // Left, hence another session; then killed and soon back, hence the same.
  Process& second = table.Join("lab");
  ASSERT_TRUE(WaitForStays(table, 1, 1));
  second.Kill();
  Process& third = table.Join("lab");
  ASSERT_TRUE(WaitForStays(table, 1, 2));

  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve());
  ASSERT_TRUE(WaitForStays(table, 1, 3));  // It comes back by itself, and nothing of it is its fault.
  const std::string svg = table.directory() + "/availability.svg";
  const nlohmann::json report = Report(table, {"--svg", svg});
  const nlohmann::json& lane = report["lanes"][0];
  EXPECT_EQ(lane["name"], "lab");
  EXPECT_EQ(lane["sessions"], 2);
  EXPECT_EQ(lane["gpu_not_sought"], 2);  // --device cpu.
  EXPECT_EQ(lane["ended"], nlohmann::json({{"drained", 1}}));
  EXPECT_EQ(lane["open"], 1);
  EXPECT_EQ(lane["gaps"]["count"], 1);
  EXPECT_EQ(lane["lengths"]["count"], 1);
  EXPECT_GT(lane["lengths"]["max_seconds"], 0);
  EXPECT_GT(lane["available"], 0);
  EXPECT_LE(lane["available"], 1);
  EXPECT_EQ(report["coordinator"]["away"].size(), 1u);
  EXPECT_GT(report["coordinator"]["away_seconds"], 0);
  std::stringstream picture;
  picture << std::ifstream(svg).rdbuf();
  EXPECT_THAT(picture.str(), testing::HasSubstr("</svg>"));

  ASSERT_TRUE(third.Signal(SIGINT));
  ASSERT_EQ(third.WaitForExit(kPatience), Exit{});
  EXPECT_TRUE(WaitUntil("the last session is closed", [&] {
    return Report(table)["lanes"][0]["ended"] == nlohmann::json({{"drained", 2}});
  }));
}

}  // namespace
}  // namespace potluck::end_to_end
