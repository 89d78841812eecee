#include "cli/job_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/follow.h"

namespace potluck {
namespace {

using testing::HasSubstr;

v1::JobStatus RunningJob() {
  v1::JobStatus status;
  status.set_job(3);
  status.set_workload("other");
  status.set_name("evil\r\x1b[2J");
  status.set_state(v1::JobStatus::RUNNING);
  status.set_cost(200);
  status.set_committed_cost(50);
  status.set_workers(2);
  status.set_weight(1.5);
  return status;
}

TEST(JobOutputTest, JobsAreListedWithPrintableNames) {
  v1::ListReply reply;
  EXPECT_EQ(JobsText(reply), "no jobs\n");
  *reply.add_jobs() = RunningJob();
  const std::string text = JobsText(reply);
  EXPECT_THAT(text, HasSubstr("evil??[2J"));
  EXPECT_THAT(text, HasSubstr("running"));
  EXPECT_THAT(text, HasSubstr("25.0 %"));
}

TEST(JobOutputTest, AJobOfAWorkloadNotKnownHereHasNoResult) {
  EXPECT_TRUE(JobJson(RunningJob(), 0)["result"].is_null());
  EXPECT_EQ(JobJson(RunningJob(), 0)["state"], "running");
  EXPECT_EQ(JobJson(RunningJob(), 0)["done"], 0.25);
  EXPECT_THAT(JobText(RunningJob(), 0), HasSubstr("workload   other\n"));
}

TEST(JobOutputTest, TokensShowWhetherTheyStillLetIn) {
  v1::ListTokensReply reply;
  for (int i = 0; i < 3; ++i) {
    v1::TokenStatus& token = *reply.add_tokens();
    token.set_token(static_cast<uint64_t>(i));
    token.set_role(v1::TOKEN_ROLE_VIEWER);
    token.set_expires_unix_ms(i == 0 ? 0 : 1000);
    token.set_revoked(i == 2);
  }
  const nlohmann::ordered_json json = TokensJson(reply, 2000);
  EXPECT_EQ(json["tokens"][0]["state"], "valid");
  EXPECT_EQ(json["tokens"][1]["state"], "expired");
  EXPECT_EQ(json["tokens"][2]["state"], "revoked");
  EXPECT_EQ(json["tokens"][0]["role"], "viewer");
}

TEST(JobOutputTest, WorkersShowTheirDevicesAndState) {
  v1::ListWorkersReply reply;
  v1::WorkerStatus& worker = *reply.add_workers();
  worker.set_name("lab\n1");
  worker.set_connected(true);
  worker.set_draining(true);
  v1::DeviceStatus& device = *worker.add_devices();
  device.set_kind("cpu");
  device.set_threads(8);
  EXPECT_TRUE(WorkersJson(reply)["workers"][0]["seconds_left"].is_null());  // Not known.
  worker.set_place("colab");
  worker.set_seconds_left(11 * 3600 + 40 * 60);
  EXPECT_THAT(WorkersText(reply), HasSubstr("lab?1   draining  colab  11 h 40 min  cpu x 8"));
  const nlohmann::ordered_json json = WorkersJson(reply)["workers"][0];
  EXPECT_EQ(json["devices"][0]["threads"], 8);
  EXPECT_EQ(json["place"], "colab");
  EXPECT_EQ(json["seconds_left"], 42000);
}

TEST(JobOutputTest, AQuarantinedWorkerIsListedWithTheReason) {
  v1::ListWorkersReply reply;
  v1::WorkerStatus& worker = *reply.add_workers();
  worker.set_name("lab-1");
  worker.set_quarantined("its result\ndiffers");
  EXPECT_THAT(WorkersText(reply), HasSubstr("lab-1   quarantined"));
  EXPECT_THAT(WorkersText(reply), HasSubstr("\nlab-1 is quarantined: its result?differs\n"));
  EXPECT_EQ(WorkersJson(reply)["workers"][0]["state"], "quarantined");
}

TEST(JobOutputTest, WhatAJobWaitsForIsShown) {
  v1::JobStatus status = RunningJob();
  status.set_waiting_for("a third worker");
  EXPECT_THAT(JobText(status, 0), HasSubstr("waiting    a third worker\n"));
  EXPECT_EQ(JobJson(status, 0)["waiting_for"], "a third worker");
}

TEST(OutcomeTest, OnlyADoneJobSucceeds) {
  v1::JobStatus status = RunningJob();
  EXPECT_FALSE(HasEnded(status));
  status.set_state(v1::JobStatus::DONE);
  EXPECT_TRUE(HasEnded(status));
  EXPECT_TRUE(Outcome(status).ok());
  status.set_state(v1::JobStatus::CANCELLED);
  EXPECT_EQ(Outcome(status).message(), "job 3 was cancelled");
  status.set_state(v1::JobStatus::FAILED);
  status.set_message("too big");
  EXPECT_EQ(Outcome(status).message(), "job 3 failed: too big");
}

}  // namespace
}  // namespace potluck
