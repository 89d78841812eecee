#include "cli/nqueens_result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace potluck {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::JobStatus DoneJob(uint32_t n, Count128 solutions, Count128 nodes) {
  nqueens::Counts counts;
  counts.solutions = solutions;
  counts.nodes = nodes;
  counts.visited = Count128(nodes.low() / 2);
  counts.checksum = 42;
  v1::JobStatus status;
  status.set_job(7);
  status.set_workload("nqueens");
  status.set_state(v1::JobStatus::DONE);
  status.set_spec(nqueens::Encode(nqueens::Spec{.n = n}));
  status.set_summary(nqueens::Encode(counts));
  status.set_submitted_unix_ms(1000);
  status.set_ended_unix_ms(3500);
  for (const auto& [name, cost] : std::vector<std::pair<std::string, double>>{{"local-1", 25}, {"lo\x1b-2", 75}}) {
    v1::Contribution& contribution = *status.add_contributions();
    contribution.set_worker(name);
    contribution.set_slices(3);
    contribution.set_cost(cost);
    contribution.set_busy_seconds(2);
  }
  return status;
}

NQueensResult Read(const v1::JobStatus& status) { return ReadNQueensResult(status, 0).value(); }

TEST(NQueensResultTest, ABlockNamesTotalSymmetryVerdictAndContributions) {
  EXPECT_EQ(ResultText(Read(DoneJob(12, 14200, 856188))),
            "12 queens by backtracking\n"
            "solutions       14,200 (14200)\n"
            "up to symmetry  1,787\n"
            "published       the same total: verified\n"
            "nodes           856,188\n"
            "time            2.50 s, 171 k nodes/s visited, 5.68 k solutions/s\n"
            "\n"
            "worker    share  slices    busy\n"
            "lo?-2    75.0 %       3  2.00 s\n"
            "local-1  25.0 %       3  2.00 s\n");
}

TEST(NQueensResultTest, WhatASecondWorkerComputedAgainIsTold) {
  v1::JobStatus status = DoneJob(12, 14200, 856188);
  EXPECT_THAT(ResultText(Read(status)), Not(HasSubstr("second worker")));
  status.set_verify(0.1);
  status.set_cost(1000);
  status.set_verified_cost(102);
  status.set_verified_slices(7);
  EXPECT_THAT(ResultText(Read(status)), HasSubstr("verified        10.2 % by a second worker (7 slices)\n"));
  EXPECT_EQ(ResultJson(Read(status))["verified_share"], 0.102);
  EXPECT_EQ(ResultJson(Read(status))["verified_slices"], 7);
}

TEST(NQueensResultTest, ADifferingTotalIsToldAndFails) {
  const NQueensResult result = Read(DoneJob(12, 14201, 856188));
  EXPECT_THAT(ResultText(result), HasSubstr("DIFFERS: 14,200"));
  EXPECT_THAT(ResultText(result), Not(HasSubstr("up to symmetry")));
  EXPECT_EQ(CheckVerified(result).message(), "the total of n = 12 is 14201, but the published one is 14200");
  EXPECT_EQ(ResultJson(result)["verified"], false);
}

TEST(NQueensResultTest, DifferingNodesFailToo) {
  const NQueensResult result = Read(DoneJob(12, 14200, 856189));
  EXPECT_EQ(result.verified(), false);
  EXPECT_EQ(CheckVerified(result).message(), "the nodes of n = 12 are 856189, but 856188 are known");
}

TEST(NQueensResultTest, WithoutAPublishedTotalThereIsNoVerdict) {
  const NQueensResult result = Read(DoneJob(28, Count128::FromWords(1, 0), 1));
  EXPECT_EQ(result.verified(), std::nullopt);
  EXPECT_TRUE(CheckVerified(result).ok());
  EXPECT_TRUE(ResultJson(result)["verified"].is_null());
  EXPECT_EQ(ResultJson(result)["solutions"], "18446744073709551616");
  EXPECT_THAT(ResultText(result), HasSubstr("not published"));
}

TEST(NQueensResultTest, JsonHasTheDocumentedShape) {
  const nlohmann::ordered_json json = ResultJson(Read(DoneJob(12, 14200, 856188)));
  EXPECT_EQ(json["n"], 12);
  EXPECT_EQ(json["algorithm"], "backtracking");
  EXPECT_EQ(json["solutions"], "14200");
  EXPECT_EQ(json["nodes"], "856188");
  EXPECT_EQ(json["seconds"], 2.5);
  EXPECT_EQ(json["workers"], 2);
  EXPECT_EQ(json["verified"], true);
  EXPECT_EQ(json["unique"], "1787");
  EXPECT_EQ(json["job"], 7);
  EXPECT_EQ(json["checksum"], "42");
  EXPECT_EQ(json["contributions"][0]["worker"], "lo?-2");
  EXPECT_EQ(json["contributions"][0]["percent"], 75);
}

TEST(NQueensResultTest, WhatIsNotCompleteIsNotCompared) {
  const NQueensResult result = Read(DoneJob(12, 100, 200));
  EXPECT_THAT(ResultText(result, false), HasSubstr("12 queens by backtracking, so far\n"));
  EXPECT_THAT(ResultText(result, false), Not(HasSubstr("published")));
  EXPECT_TRUE(ResultJson(result, false)["verified"].is_null());
}

TEST(NQueensResultTest, BoardsWithoutSolutionsAreVerified) {
  v1::JobStatus status = DoneJob(3, 0, 5);
  status.clear_contributions();
  EXPECT_EQ(Read(status).verified(), true);
  EXPECT_THAT(ResultText(Read(status)), HasSubstr("solutions       0\nup to symmetry  0\n"));
}

TEST(NQueensResultTest, AnotherWorkloadOrADamagedPayloadIsRefused) {
  v1::JobStatus status = DoneJob(12, 14200, 856188);
  status.set_workload("cnn");
  EXPECT_FALSE(ReadNQueensResult(status, 0).ok());
  status = DoneJob(12, 14200, 856188);
  status.set_summary("\xff\xff\xff");
  EXPECT_FALSE(ReadNQueensResult(status, 0).ok());
}

}  // namespace
}  // namespace potluck
