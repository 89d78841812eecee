// For tests: raw gRPC stubs on a coordinator, and a worker simulated by hand with the real CPU runner.
//
// Nothing here checks what it sends: that is the coordinator's business.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/coordinator.h"
#include "kernels/workload/interval.h"
#include "kernels/workload/runner.h"
#include "proto/jobs.grpc.pb.h"
#include "proto/workers.grpc.pb.h"

namespace potluck {

// No test waits longer for a call.
inline constexpr absl::Duration kTestCallDeadline = absl::Seconds(40);

// One party with one join string. Thread-safe.
class Caller {
 public:
  // By the join string's first address and pin, with its token, or `token` if that is given, or no token at all.
  explicit Caller(const std::string& join_string);
  Caller(const std::string& join_string, const std::string& token);

  template <typename Service, typename Request, typename Reply>
  grpc::Status Call(grpc::Status (Service::*method)(grpc::ClientContext*, const Request&, Reply*),
                    const Request& request, Reply* reply) const {
    grpc::ClientContext context;
    Prepare(context);
    if constexpr (std::is_same_v<Service, v1::Jobs::StubInterface>) {
      return (jobs_.get()->*method)(&context, request, reply);
    } else {
      return (workers_.get()->*method)(&context, request, reply);
    }
  }

  grpc::Status Join(const v1::JoinRequest& request, v1::JoinReply* reply) const;
  grpc::Status Exchange(const v1::ExchangeRequest& request, v1::ExchangeReply* reply) const;
  // All messages of Slices, and how the call ended.
  grpc::Status Slices(uint64_t job, std::vector<v1::SlicesReply>* replies) const;
  // The status of a job; fails the test if there is none.
  v1::JobStatus Job(uint64_t job) const;
  v1::ListWorkersReply Workers() const;
  // Submits N-Queens on a board of n; fails the test if that is refused.
  uint64_t SubmitQueens(int n) const;
  // A join string of a new token.
  std::string NewJoinString(v1::TokenRole role, const std::string& name, uint64_t lifetime_seconds = 0) const;

 private:
  void Prepare(grpc::ClientContext& context) const;

  std::string token_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::StubInterface> jobs_;
  std::unique_ptr<v1::Workers::StubInterface> workers_;
};

// What a sound worker with one CPU says when it comes.
v1::JoinRequest SoundJoin(const std::string& name);

struct Computed {
  Interval interval;
  std::string payload;
};

// A worker whose every message is made by hand. Not thread-safe.
class HandWorker {
 public:
  // Joins; fails the test if it is refused.
  HandWorker(const std::string& join_string, const std::string& name);

  // An Exchange with the next seq, and nothing in it but no_wait.
  v1::ExchangeRequest NextRequest();
  grpc::Status Exchange(const v1::ExchangeRequest& request, v1::ExchangeReply* reply) const;

  // Asks for work once, keeps what it learns about the round, and hands the work back at once.
  void LearnRound(uint64_t job);
  // The round's payload, after LearnRound.
  const std::string& round_payload(uint64_t job) const { return rounds_.at(job); }
  // Computes an interval of round 0 of `job`.
  std::vector<Computed> Compute(uint64_t job, Interval interval);
  // The result of the interval as one slice.
  v1::Slice ComputeSlice(uint64_t job, Interval interval);
  // Sends the slice in an Exchange of its own; the coordinator's answer to it. Fails the test if the call fails.
  v1::SliceAnswer Report(const v1::Slice& slice);

  // Works as a worker should until the job has ended.
  v1::JobStatus WorkUntilEnded(const Caller& admin, uint64_t job);

  uint64_t session() const { return session_; }
  const Caller& caller() const { return caller_; }

 private:
  void KeepRounds(const v1::ExchangeReply& reply);

  const Caller caller_;
  uint64_t session_ = 0;
  uint64_t seq_ = 0;
  std::map<uint64_t, std::string> rounds_;  // By job.
  std::unique_ptr<Runner> runner_;
};

v1::Slice MakeSlice(uint64_t job, Interval interval, const std::string& payload);

// Fails the test unless the job is done with exactly the known counts; n is 8 or 10.
void ExpectRightCounts(const v1::JobStatus& status, int n);

// Fails the test unless a worker that comes now can do a job of n = 10 from its submission to its exact end.
void ExpectStillWorks(const std::string& worker_join, const std::string& admin_join);

}  // namespace potluck
