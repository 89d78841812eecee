// For tests: a core with a fake clock, a store in memory and a workload of eight indices.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/core/core.h"
#include "coordinator/store/memory_store.h"
#include "gtest/gtest.h"
#include "tests/simulation/fake_workload.h"

namespace potluck {

inline constexpr SessionId kAnna{11};
inline const RoundKey kRound{JobId{1}, 0};

class CoreTest : public testing::Test {
 protected:
  CoreTest() : core_(MakeCore()) {}

  std::unique_ptr<Core> MakeCore() {
    CoreOptions options;
    options.scheduler.epoch = Epoch{1};
    options.retention = absl::Hours(24 * 30);
    return std::make_unique<Core>(options, [this](const std::string& workload, const std::string&, const BlobReader&) {
      if (workload != "fake") return Result<std::unique_ptr<Planner>>(Status::Error("workload is unknown"));
      return Result<std::unique_ptr<Planner>>(std::make_unique<simulation::FakePlanner>(1, 8, known_answers_));
    });
  }

  // Does what the outbox asks for, with the store; keeps the answers.
  void Handle(Outbox outbox) {
    for (const Outbox::AppendFacts& append : outbox.appends) {
      if (hold_store_) {
        held_.push_back(append);
        continue;
      }
      Store(append);
    }
    for (Outbox::ExchangeAnswer& answer : outbox.exchanges) exchanges_.push_back(std::move(answer));
    for (Outbox::RequestAnswer& answer : outbox.requests) requests_.push_back(std::move(answer));
    for (const Outbox::Distrust& distrust : outbox.distrusted) {
      std::vector<Interval> intervals;
      facts_.ForEachSlice(distrust.round, [&](const SliceCommitted& slice) {
        if (slice.worker == distrust.worker) intervals.push_back(slice.interval);
      });
      Handle(core_->RetractDistrusted(now_, distrust, intervals));
    }
    for (const RoundKey key : outbox.rebuilds) {
      std::vector<SliceCommitted> slices;
      facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { slices.push_back(slice); });
      std::vector<SliceVerified> verifications;
      facts_.ForEachVerification(key, [&](const SliceVerified& verified) { verifications.push_back(verified); });
      Handle(core_->Rebuild(now_, key, slices, verifications));
    }
    log_.insert(log_.end(), outbox.log.begin(), outbox.log.end());
  }
  void Store(const Outbox::AppendFacts& append) {
    std::vector<Verdict> verdicts;
    for (const Fact& fact : append.facts) verdicts.push_back(facts_.Write(fact));
    Handle(core_->Stored(now_, append.id, absl::OkStatus(), verdicts));
  }

  void Submit(std::vector<std::string> blobs = {}, double verify = 0) {
    JobSubmitted job;
    job.verify = verify;
    job.request_id = "request-1";
    job.workload = "fake";
    Handle(core_->Submit(now_, CallId{1000}, job, std::move(blobs)));
  }
  void Join(SessionId session = kAnna, const std::string& name = "anna") {
    JoinRequest join;
    join.session = session;
    join.installation = join.name = name;
    join.devices.push_back(device_);
    Outbox outbox;
    ASSERT_TRUE(core_->Join(now_, join, outbox).ok());
    Handle(std::move(outbox));
  }
  static ReportedSlice Slice(Interval interval, LeaseId lease = {1, 1}) {
    ReportedSlice slice;
    slice.round = kRound;
    slice.interval = interval;
    slice.lease = lease;
    slice.busy_seconds = 1;
    slice.payload = simulation::PayloadOf(simulation::SumOf(0, interval));
    slice.digest = Sha256(slice.payload);
    return slice;
  }
  ExchangeRequest Request(uint64_t seq, std::vector<ReportedSlice> slices = {}, std::vector<HeldLease> held = {}) {
    ExchangeRequest request;
    request.session = kAnna;
    request.seq = seq;
    request.slices = std::move(slices);
    request.report.held = std::move(held);
    request.report.free_capacity = {1};
    return request;
  }
  // The answer to a call: "parked" while there is none.
  std::string Answer(CallId call) {
    for (const Outbox::ExchangeAnswer& answer : exchanges_) {
      if (answer.call != call) continue;
      if (!answer.status.ok()) return absl::StatusCodeToString(answer.status.code());
      std::string text;
      for (const SliceAnswer& slice : answer.reply.answers)
        absl::StrAppend(&text, "slice ", static_cast<int>(slice.verdict), "; ");
      for (const Grant& grant : answer.reply.orders.granted)
        absl::StrAppend(&text, "grant ", ToString(grant.interval), "; ");
      for (const RoundInfo& round : answer.reply.rounds) absl::StrAppend(&text, "round ", round.workload, "; ");
      return text;
    }
    return "parked";
  }
  std::string Exchange(uint64_t call, ExchangeRequest request) {
    Handle(core_->Exchange(now_, CallId{call}, std::move(request)));
    return Answer(CallId{call});
  }

  Instant now_{absl::FromUnixSeconds(500), absl::FromUnixSeconds(1'000'000)};
  MemoryFacts facts_;
  uint64_t known_answers_ = 0;
  DeviceInfo device_;  // Of those who join.
  std::unique_ptr<Core> core_;
  bool hold_store_ = false;
  std::vector<Outbox::AppendFacts> held_;
  std::vector<Outbox::ExchangeAnswer> exchanges_;
  std::vector<Outbox::RequestAnswer> requests_;
  std::vector<std::string> log_;
};

}  // namespace potluck
