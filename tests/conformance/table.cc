#include "tests/conformance/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"
#include "proto/join_string.h"
#include "proto/versions.h"
#include "worker/transport.h"

namespace potluck {

Caller::Caller(const std::string& join_string) : Caller(join_string, ParseJoinString(join_string).value().token) {}

Caller::Caller(const std::string& join_string, const std::string& token) : token_(token) {
  channel_ = Connect(ParseJoinString(join_string).value()).value().channel;
  jobs_ = v1::Jobs::NewStub(channel_);
  workers_ = v1::Workers::NewStub(channel_);
}

void Caller::Prepare(grpc::ClientContext& context) const {
  if (!token_.empty()) Authorize(context, token_);
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTestCallDeadline));
}

grpc::Status Caller::Join(const v1::JoinRequest& request, v1::JoinReply* reply) const {
  return Call(&v1::Workers::StubInterface::Join, request, reply);
}

grpc::Status Caller::Exchange(const v1::ExchangeRequest& request, v1::ExchangeReply* reply) const {
  return Call(&v1::Workers::StubInterface::Exchange, request, reply);
}

grpc::Status Caller::Slices(uint64_t job, std::vector<v1::SlicesReply>* replies) const {
  grpc::ClientContext context;
  Prepare(context);
  v1::JobRef request;
  request.set_job(job);
  const auto reader = jobs_->Slices(&context, request);
  v1::SlicesReply reply;
  while (reader->Read(&reply)) replies->push_back(reply);
  return reader->Finish();
}

v1::JobStatus Caller::Job(uint64_t job) const {
  v1::ListReply reply;
  const grpc::Status status = Call(&v1::Jobs::StubInterface::List, v1::ListRequest(), &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (const v1::JobStatus& found : reply.jobs()) {
    if (found.job() == job) return found;
  }
  ADD_FAILURE() << "there is no job " << job;
  return {};
}

v1::ListWorkersReply Caller::Workers() const {
  v1::ListWorkersReply reply;
  const grpc::Status status = Call(&v1::Jobs::StubInterface::ListWorkers, v1::Empty(), &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return reply;
}

uint64_t Caller::SubmitQueens(int n) const {
  static int count = 0;
  v1::SubmitRequest request;
  request.set_request_id(absl::StrCat("request-", ++count));
  request.set_workload("nqueens");
  request.set_spec(nqueens::Encode(nqueens::Spec{.n = static_cast<uint32_t>(n)}));
  v1::SubmitReply reply;
  const grpc::Status status = Call(&v1::Jobs::StubInterface::Submit, request, &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return reply.job();
}

std::string Caller::NewJoinString(v1::TokenRole role, const std::string& name, uint64_t lifetime_seconds) const {
  v1::CreateTokenRequest request;
  request.set_role(role);
  request.set_name(name);
  request.set_lifetime_seconds(lifetime_seconds);
  v1::CreateTokenReply reply;
  const grpc::Status status = Call(&v1::Jobs::StubInterface::CreateToken, request, &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return reply.join_string();
}

v1::JoinRequest SoundJoin(const std::string& name) {
  v1::JoinRequest request;
  request.set_protocol_min(kProtocolMin);
  request.set_protocol_max(kProtocolMax);
  request.set_version(kVersion);
  request.set_installation(absl::StrCat("installation of ", name));
  request.set_name(name);
  v1::Device* device = request.add_devices();
  device->set_kind("cpu");
  device->set_name("by hand");
  device->set_threads(1);
  return request;
}

HandWorker::HandWorker(const std::string& join_string, const std::string& name)
    : caller_(join_string), runner_(MakeCpuRunner("nqueens", {.threads = 1, .dispatch = "scalar"}).value()) {
  v1::JoinReply reply;
  const grpc::Status status = caller_.Join(SoundJoin(name), &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(reply.has_joined()) << reply.refused().message();
  session_ = reply.joined().session();
}

v1::ExchangeRequest HandWorker::NextRequest() {
  v1::ExchangeRequest request;
  request.set_session(session_);
  request.set_seq(++seq_);
  request.set_no_wait(true);
  return request;
}

grpc::Status HandWorker::Exchange(const v1::ExchangeRequest& request, v1::ExchangeReply* reply) const {
  return caller_.Exchange(request, reply);
}

void HandWorker::KeepRounds(const v1::ExchangeReply& reply) {
  for (const v1::RoundInfo& round : reply.rounds()) {
    EXPECT_EQ(round.workload(), "nqueens");
    rounds_[round.round().job()] = round.payload();
  }
}

void HandWorker::LearnRound(uint64_t job) {
  v1::ExchangeRequest request = NextRequest();
  request.add_free_capacity(1);
  v1::ExchangeReply reply;
  grpc::Status status = Exchange(request, &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  KeepRounds(reply);
  ASSERT_TRUE(rounds_.contains(job));
  // Not listed among those held: handed back.
  status = Exchange(NextRequest(), &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
}

std::vector<Computed> HandWorker::Compute(uint64_t job, Interval interval) {
  std::vector<Computed> slices;
  const Status opened = runner_->Open(round_payload(job));
  EXPECT_TRUE(opened.ok()) << opened.message();
  RunControl control(interval);
  const Status ran =
      runner_->Run(interval, control, RunOptions{}, [&](Interval part, std::string_view payload, double /*busy*/) {
        slices.push_back({part, std::string(payload)});
      });
  EXPECT_TRUE(ran.ok()) << ran.message();
  return slices;
}

v1::Slice HandWorker::ComputeSlice(uint64_t job, Interval interval) {
  nqueens::Counts sum;
  for (const Computed& part : Compute(job, interval)) {
    EXPECT_TRUE(sum.Add(nqueens::DecodeCounts(part.payload).value()));
  }
  return MakeSlice(job, interval, Encode(sum));
}

v1::SliceAnswer HandWorker::Report(const v1::Slice& slice) {
  v1::ExchangeRequest request = NextRequest();
  *request.add_slices() = slice;
  v1::ExchangeReply reply;
  const grpc::Status status = Exchange(request, &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(reply.answers_size(), 1);
  return reply.answers_size() == 1 ? reply.answers(0) : v1::SliceAnswer();
}

v1::JobStatus HandWorker::WorkUntilEnded(const Caller& admin, uint64_t job) {
  std::vector<v1::Slice> finished;
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (absl::Now() < end) {
    v1::ExchangeRequest request = NextRequest();
    for (v1::Slice& slice : finished) *request.add_slices() = std::move(slice);
    finished.clear();
    request.add_free_capacity(2);
    v1::ExchangeReply reply;
    if (const grpc::Status status = Exchange(request, &reply); !status.ok()) {
      ADD_FAILURE() << status.error_message();
      return {};
    }
    KeepRounds(reply);
    for (const v1::SliceAnswer& answer : reply.answers()) {
      EXPECT_EQ(answer.verdict(), v1::SliceAnswer::COMMITTED) << answer.message();
    }
    for (const v1::Grant& grant : reply.granted()) {
      for (const Computed& slice : Compute(grant.round().job(), {grant.begin(), grant.end()})) {
        finished.push_back(MakeSlice(grant.round().job(), slice.interval, slice.payload));
        *finished.back().mutable_lease() = grant.lease();
        finished.back().set_slot(grant.slot());
        finished.back().set_busy_seconds(0.001);
      }
    }
    if (!finished.empty()) continue;
    v1::JobStatus status = admin.Job(job);
    if (status.state() != v1::JobStatus::RUNNING) return status;
  }
  ADD_FAILURE() << "job " << job << " did not end";
  return {};
}

v1::Slice MakeSlice(uint64_t job, Interval interval, const std::string& payload) {
  v1::Slice slice;
  slice.mutable_round()->set_job(job);
  slice.set_begin(interval.begin);
  slice.set_end(interval.end);
  slice.set_payload(payload);
  slice.set_digest(Sha256(payload));
  return slice;
}

void ExpectRightCounts(const v1::JobStatus& status, int n) {
  EXPECT_EQ(status.state(), v1::JobStatus::DONE) << status.message();
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts(status.summary());
  ASSERT_TRUE(counts.ok()) << counts.status().message();
  EXPECT_EQ(counts->solutions.ToString(), nqueens::KnownSolutions(n)->ToString());
  ASSERT_TRUE(n == 8 || n == 10);
  EXPECT_EQ(counts->nodes.ToString(), n == 8 ? "2056" : "35538");
  EXPECT_EQ(status.committed(), status.size());
}

void ExpectStillWorks(const std::string& worker_join, const std::string& admin_join) {
  const Caller admin(admin_join);
  const uint64_t job = admin.SubmitQueens(10);
  HandWorker worker(worker_join, "sound");
  ExpectRightCounts(worker.WorkUntilEnded(admin, job), 10);
}

}  // namespace potluck
