// The simulated world: what there is and what can happen in it. simulation.cc has the coordinator and the faults,
// workers.cc the workers and the network, invariants.cc what must hold.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/core.h"
#include "coordinator/store/memory_store.h"
#include "tests/simulation/fake_training.h"
#include "tests/simulation/simulation.h"
#include "worker/lease_book.h"

namespace potluck::simulation {

struct Chances {
  double lose_message = 0;
  double double_request = 0;
  bool crashes = false;
  bool freezes = false;
  bool restarts = false;
  bool clock_jumps = false;
  bool retractions = false;
  bool pauses = false;
};

class Simulation {
 public:
  Simulation(uint64_t seed, const Rules& rules);

  Outcome Run();

 private:
  struct Worker {
    explicit Worker(uint32_t capacity) : book(1, capacity) {}
    LeaseBook book;
    double speed = 1;  // Indices per second.
    // A liar's results are wrong by chance, or wherever an index is that it cannot compute.
    double lie_chance = 0;
    uint64_t broken_one_in = 0;
    bool is_liar() const { return lie_chance > 0 || broken_one_in > 0; }
    bool banned = false;
    bool up = false;
    absl::Time frozen_until = absl::InfinitePast();
    bool joined = false;
    SessionId session{};
    uint64_t seq = 0;
    std::optional<ExchangeRequest> request;  // Sent and not answered.
    std::set<CallId> calls;                  // Its transports.
    uint64_t life = 0;                       // Raised by a crash: what was planned before is void.
    std::optional<LeaseId> running;
    uint64_t claimed = 0;
    uint64_t run = 0;  // Raised when a run is cancelled.
    std::optional<absl::Time> idle_since;
    bool pump_planned = false;
    Floats parameters{};  // Of the round that is being computed.
  };
  struct JobPlan {
    std::string request_id;
    uint32_t rounds = 1;
    uint64_t size = 1;
    double weight = 1;
    uint64_t known_answers = 0;
    bool is_training = false;
    std::string numerics_class;  // That its rounds ask for.
    std::optional<JobId> id;
  };

  // ---- Randomness and time
  uint64_t Uniform(uint64_t low, uint64_t high) { return std::uniform_int_distribution<uint64_t>(low, high)(random_); }
  bool Chance(double p) { return std::uniform_real_distribution<double>(0, 1)(random_) < p; }
  absl::Duration Milliseconds(uint64_t low, uint64_t high) { return absl::Milliseconds(Uniform(low, high)); }
  void At(absl::Duration after, std::function<void()> event) {
    queue_.emplace(std::pair(now_ + after, order_++), std::move(event));
  }
  Instant Now() const { return {now_, now_ + wall_offset_}; }
  void Fail(std::string what) {
    if (outcome_.failure.empty()) outcome_.failure = std::move(what);
  }

  void Draw();

  void PlanFaults();

  void Heal();

  void Fault();

  // ---- The coordinator and its store
  void StartCoordinator();

  void Submit(JobPlan& job);

  void CrashCoordinator();

  void StoreNext();

  void RetractSomething();

  // What the store is told is looked at before it is written.
  void CheckFact(const Fact& fact);
  void CheckFact(const SliceVerified& fact);
  void CheckFact(const WorkerSeen& fact);
  void CheckFact(const SliceRetracted& fact);
  void CheckFact(const WorkerQuarantined& fact);
  const JobPlan* PlanOf(JobId job) const;
  bool IsWrong(const SliceCommitted& slice) const;
  std::optional<SliceCommitted> FindSlice(RoundKey key, Interval interval) const;

  std::string ClassOf(size_t worker) const;
  void SaveState(const Outbox::SaveState& save);
  void DamageAState();

  // Calls `event`, now or a little later but in order, unless the coordinator dies before.
  void Soon(std::function<void()> event);

  void Handle(Outbox outbox);

  // ---- Workers
  void Join(size_t i);

  bool Frozen(const Worker& worker) const { return worker.frozen_until > now_; }

  void Crash(size_t i);

  void Freeze(size_t i);

  // Starts what can be started and says what is to be said.
  void Pump(size_t i);

  const LeaseBook::Lease* Running(const Worker& worker) const;

  // Gets what the round reads besides. False if it cannot be had any more.
  bool GetParameters(size_t i, RoundKey round);

  void NextSlice(size_t i, uint64_t begin);

  // What is to be added to the worker's results: 0 unless it lies.
  uint64_t ErrorOf(size_t i, uint32_t round, Interval interval);
  // What the worker finds, which may be wrong.
  std::string Compute(size_t i, RoundKey round, Interval interval);
  // Some results come apart from their slices.
  void HandOver(size_t i, ExchangeRequest& request);

  void FinishSlice(size_t i, uint64_t run, RoundKey round, LeaseId id, Interval interval, double seconds);

  // ---- The network between them
  CallId NewCall() { return CallId{++last_call_}; }

  void Call(size_t i);

  void Respond(Outbox::ExchangeAnswer answer);

  void Receive(size_t i, const ExchangeReply& reply);

  void CallFailed(Worker& worker, CallId call, const absl::Status& status);

  // ---- What must hold
  void CheckInvariants();

  void CheckRound(RoundKey key);
  void CheckChecks(const RoundState& state);

  bool HasFreeWork(size_t worker) const;

  void CheckNobodyStarves();

  bool AllDone() const;

  void CheckVerifications(RoundKey key, const JobSubmitted& job);
  void CheckTrained(const StoredJob& stored, const JobPlan& plan);
  void CheckSessions();
  void CheckResults();

  std::string DescribeRounds() const;

  std::mt19937_64 random_;
  const Rules rules_;
  Chances chances_;
  bool calm_ = true;
  bool faults_are_over_ = false;
  const absl::Time start_ = absl::FromUnixSeconds(1'000'000);
  absl::Time now_ = start_;
  absl::Duration wall_offset_ = absl::Hours(1000);
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> queue_;
  uint64_t order_ = 0;

  MemoryFacts facts_;
  std::map<std::string, std::string> blobs_;  // Saved states, durable.
  std::deque<Outbox::AppendFacts> appends_;
  std::unique_ptr<Core> core_;
  uint64_t core_life_ = 0;
  absl::Time soon_ = absl::InfinitePast();  // When the last of those is due that wait.
  size_t soon_waiting_ = 0;
  uint64_t epoch_ = 0;
  std::vector<JobPlan> jobs_;
  std::map<CallId, JobPlan*> submits_;

  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<SessionId, size_t> session_owner_;
  std::map<WorkerId, size_t> worker_numbers_;  // As the coordinator knows them.
  std::map<CallId, size_t> call_owner_;
  uint64_t last_call_ = 0;
  uint64_t last_session_ = 0;
  Outcome outcome_;
};

}  // namespace potluck::simulation
