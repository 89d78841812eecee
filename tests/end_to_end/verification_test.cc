// Workers that lie, as real processes: they are found, named and quarantined, and the total is exact.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/dispatch.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

// So short, and so slow a code path, that one lie in a hundred slices comes soon.
constexpr double kShortSlice = 0.01;
constexpr char kSlow[] = "scalar";

std::string QuarantineOf(Table& table, const std::string& name) {
  const std::optional<v1::WorkerStatus> worker = table.FindWorker(name);
  return worker ? worker->quarantined() : "";
}

TEST(VerificationTest, AWorkerThatLiesInOneOfAHundredSlicesIsFound) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& liar = table.JoinLiar("liar", "large:15/100", kShortSlice, kSlow);
  table.Join("anna", kShortSlice, kSlow);
  table.Join("bert", kShortSlice, kSlow);
  Process& client = table.Count(16, 1, {"--verify", "1"});
  ASSERT_TRUE(client.WaitForExit(kPatience).has_value());
  const absl::StatusOr<v1::JobStatus> job = table.Job(1);
  ASSERT_TRUE(job.ok());
  EXPECT_GE(job->disagreements(), 1u);
  table.ExpectExact(client, 16, 1, kPatience, job->disagreements());
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "differs from that of"));
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "anna"));
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "bert"));
  EXPECT_EQ(QuarantineOf(table, "anna") + QuarantineOf(table, "bert"), "");
  ASSERT_TRUE(liar.WaitForExit(kPatience).has_value());
  EXPECT_TRUE(liar.WaitForLine("quarantined", absl::Seconds(5))) << liar.errors();
  EXPECT_EQ(job->verified_indices(), job->size());
  EXPECT_TRUE(absl::StrContains(job->message(), "worker liar was found wrong")) << job->message();
  for (const v1::Contribution& contribution : job->contributions()) EXPECT_NE(contribution.worker(), "liar");
  const auto json = nlohmann::json::parse(client.output(), nullptr, /*allow_exceptions=*/false);
  EXPECT_NEAR(json.value("verified_share", 0.0), 1.0, 1e-6);
}

TEST(VerificationTest, ALyingCheckerIsFoundAndTheHonestWorkersSlicesStay) {
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("anna", kShortSlice, kSlow);
  Process& client = table.Count(15, 1, {"--verify", "1"});
  // Anna has computed all; whatever the liar computes is a check.
  ASSERT_TRUE(WaitUntil("the job waits for a second worker", [&] {
    const absl::StatusOr<v1::JobStatus> job = table.Job(1);
    return job.ok() && absl::StrContains(job->waiting_for(), "let another worker join");
  }));
  ASSERT_TRUE(client.WaitForLine("yet to be verified by a second worker"));
  table.JoinLiar("liar", "large:3/3", kShortSlice, kSlow);
  ASSERT_TRUE(WaitUntil("the two disagree", [&] {
    const absl::StatusOr<v1::JobStatus> job = table.Job(1);
    return job.ok() && job->disagreements() > 0;
  }));
  EXPECT_TRUE(absl::StrContains(table.Job(1)->waiting_for(), "a third one must decide"));
  EXPECT_TRUE(table.IsRunning(1));
  table.Join("carl", kShortSlice, kSlow);
  ASSERT_TRUE(client.WaitForExit(kPatience).has_value());
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "differs from that of anna and carl"));
  EXPECT_EQ(QuarantineOf(table, "anna") + QuarantineOf(table, "carl"), "");
  const absl::StatusOr<v1::JobStatus> job = table.Job(1);
  ASSERT_TRUE(job.ok());
  table.ExpectExact(client, 15, 1, kPatience, job->disagreements());
  EXPECT_EQ(job->verified_indices(), job->size());
  ASSERT_EQ(job->contributions_size(), 1);
  EXPECT_EQ(job->contributions(0).worker(), "anna");
}

TEST(VerificationTest, AWorkerWithABrokenCodePathIsFoundWhenItIsAskedForThatPath) {
  if (SupportedDispatches().size() < 2) GTEST_SKIP() << "this machine has one code path only";
  Table table;
  ASSERT_TRUE(table.Serve());
  // Who forces no path has all of them.
  table.JoinLiar("liar", "others:1/1", kShortSlice, "auto");
  table.Join("anna", 0.02, "auto");
  table.Join("bert", 0.02, "auto");
  Process& client = table.Count(17, 1, {"--verify", "1"});
  ASSERT_TRUE(client.WaitForExit(kPatience).has_value());
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "differs from that of"));
  table.ExpectExact(client, 17, 1, kPatience, table.Job(1)->disagreements());
}

TEST(VerificationTest, AKnownAnswerFindsAWorkerThatAlwaysLiesAndItsQuarantineOutlivesTheCoordinator) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& liar = table.JoinLiar("liar", "1/1", 0.1);
  Process& client = table.Count(15, 1);
  ASSERT_TRUE(WaitUntil("the liar is quarantined", [&] { return !QuarantineOf(table, "liar").empty(); }));
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "is not the known one"));
  ASSERT_TRUE(liar.WaitForExit(kPatience).has_value());
  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve());
  EXPECT_TRUE(absl::StrContains(QuarantineOf(table, "liar"), "is not the known one"));
  Process& again = table.JoinLiar("liar", "", 0.1);
  ASSERT_TRUE(again.WaitForExit(kPatience).has_value());
  EXPECT_TRUE(again.WaitForLine("`potluck workers pardon`", absl::Seconds(5))) << again.errors();
  EXPECT_FALSE(table.ChangeWorker("pardon", "anna"));
  EXPECT_TRUE(table.ChangeWorker("pardon", "liar"));
  EXPECT_EQ(QuarantineOf(table, "liar"), "");
  table.JoinLiar("liar", "", 0.1);  // It has mended its ways.
  table.ExpectExact(client, 15, 1);
}

TEST(VerificationTest, LocalWorkersVerifyEachOther) {
  Table table;
  Process& client = table.Run({"nqueens", "13", "--nodes", "--local-workers", "2", "--verify", "0.5", "--json"});
  table.ExpectExact(client, 13, 1);
  const auto json = nlohmann::json::parse(client.output(), nullptr, /*allow_exceptions=*/false);
  EXPECT_EQ(json.value("verify", 0.0), 0.5);
  Process& alone = table.Run({"nqueens", "8", "--local-workers", "1", "--verify", "1"});
  EXPECT_EQ(alone.WaitForExit(kPatience), (Exit{.code = 2}));
  EXPECT_TRUE(alone.WaitForLine("allowed is at least 2", absl::Seconds(5))) << alone.errors();
}

}  // namespace
}  // namespace potluck::end_to_end
