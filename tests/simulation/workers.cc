// Workers and the network between them and the coordinator.
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "tests/simulation/fake_workload.h"
#include "tests/simulation/world.h"

namespace potluck::simulation {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(30);

}  // namespace

void Simulation::Join(size_t i) {
  Worker& worker = *workers_[i];
  worker.up = true;
  worker.joined = false;
  worker.request.reset();
  worker.calls.clear();
  worker.seq = 0;
  const uint64_t life = worker.life;
  if (!core_ || Frozen(worker)) {
    At(Milliseconds(200, 3000), [this, i, life] {
      if (workers_[i]->life == life && !workers_[i]->joined) Join(i);
    });
    return;
  }
  JoinRequest request;
  request.session = worker.session = SessionId{++last_session_};
  request.installation = request.name = absl::StrCat("worker-", i);
  request.devices.resize(1);
  request.devices[0].numerics_class = ClassOf(i);
  if (i % 3 != 0) request.devices[0].implementations = {"fast", "slow"};
  Outbox outbox;
  if (const absl::Status joined = core_->Join(Now(), request, outbox); !joined.ok()) {
    if (!worker.is_liar()) Fail(absl::StrCat("an honest worker was turned away: ", std::string(joined.message())));
    worker.up = false;
    worker.banned = true;
    return Handle(std::move(outbox));
  }
  session_owner_[request.session] = i;
  worker.joined = true;
  Handle(std::move(outbox));
  Pump(i);
}

void Simulation::Crash(size_t i) {
  Worker& worker = *workers_[i];
  if (!worker.up) return;
  ++worker.life;
  worker.up = worker.joined = false;
  const bool is_noticed = Chance(0.5);
  for (const CallId call : worker.calls) {
    call_owner_.erase(call);
    if (is_noticed && core_) Handle(core_->CallLost(Now(), call));
  }
  worker.calls.clear();
  worker.request.reset();
  worker.running.reset();
  ++worker.run;
  worker.idle_since.reset();
  if (Chance(0.7)) worker.book = LeaseBook(1, 2);  // Else only its network was gone, or it kept its book.
  for (const LeaseBook::Lease& lease : std::vector(worker.book.leases())) {
    if (lease.started) worker.book.RunOver(lease.id);
  }
  const uint64_t life = worker.life;
  if (Chance(0.8)) {
    At(Milliseconds(100, 40000), [this, i, life] {
      if (workers_[i]->life == life && !workers_[i]->up) Join(i);
    });
  }
}

void Simulation::Freeze(size_t i) {
  Worker& worker = *workers_[i];
  worker.frozen_until = now_ + Milliseconds(500, 40000);
  worker.idle_since.reset();
  At(worker.frozen_until - now_, [this, i] { Pump(i); });
}

void Simulation::Pump(size_t i) {
  Worker& worker = *workers_[i];
  if (!worker.up || !worker.joined || Frozen(worker)) return;
  if (!worker.running) {
    if (const auto lease = worker.book.NextToStart(0)) {
      worker.book.Started(lease->id);
      if (GetParameters(i, lease->round)) {
        worker.running = lease->id;
        NextSlice(i, lease->next);
      } else {
        worker.book.RunOver(lease->id);  // Handed back.
      }
    }
  }
  const bool is_waiting = worker.request.has_value();
  if (is_waiting && !(worker.book.HasNews() && worker.request->slices.empty() && !worker.request->no_wait)) return;
  if (!is_waiting || worker.book.HasNews()) {
    for (const CallId call : worker.calls) call_owner_.erase(call);
    worker.calls.clear();
    worker.request = worker.book.BuildRequest(worker.session, ++worker.seq);
    Call(i);
  }
}

const LeaseBook::Lease* Simulation::Running(const Worker& worker) const {
  for (const LeaseBook::Lease& lease : worker.book.leases()) {
    if (worker.running && lease.id == *worker.running) return &lease;
  }
  return nullptr;
}

bool Simulation::GetParameters(size_t i, RoundKey round) {
  const JobPlan* plan = PlanOf(round.job);
  if (plan == nullptr || !plan->is_training) return true;
  Worker& worker = *workers_[i];
  const RoundInfo* info = worker.book.FindRound(round);
  if (info == nullptr || info->bulk.size() != 1) {
    Fail("a round's bulk is not named");
    return false;
  }
  if (!core_) return false;
  const absl::StatusOr<Core::Readable> readable = core_->FindReadable(worker.session, TokenId{}, info->bulk[0]);
  if (!readable.ok()) return false;
  const std::string_view bytes = readable->bulk->bytes.view();
  if (BlobDigest(DescribeBlob({bytes.data(), bytes.size()})) != info->bulk[0]) Fail("bulk is not what its name says");
  worker.parameters = FloatsOf(bytes);
  return true;
}

void Simulation::NextSlice(size_t i, uint64_t begin) {
  Worker& worker = *workers_[i];
  const LeaseBook::Lease* lease = Running(worker);
  if (lease == nullptr || begin >= lease->end) {
    worker.book.RunOver(*worker.running);
    worker.running.reset();
    return Pump(i);
  }
  worker.claimed = std::min(lease->end, begin + Uniform(1, 12));
  const JobPlan* plan = PlanOf(lease->round.job);
  if (plan != nullptr && plan->is_training) worker.claimed = BlockAt(begin, worker.claimed, plan->size).end;
  const Interval interval{begin, worker.claimed};
  const double seconds = static_cast<double>(interval.size()) / worker.speed;
  At(absl::Seconds(seconds), [this, i, interval, seconds, round = lease->round, id = lease->id, run = worker.run] {
    FinishSlice(i, run, round, id, interval, seconds);
  });
}

uint64_t Simulation::ErrorOf(size_t i, uint32_t round, Interval interval) {
  Worker& worker = *workers_[i];
  uint64_t error = 0;
  if (worker.lie_chance > 0 && Chance(worker.lie_chance)) error = random_() | 1;
  for (uint64_t index = interval.begin; worker.broken_one_in > 0 && index < interval.end; ++index) {
    const uint64_t hash = ValueOf(round + 1000 * static_cast<uint32_t>(i + 1), index);
    if (hash % worker.broken_one_in == 0) error += hash | 1;  // Always the same, and each liar's own.
  }
  outcome_.lies += error != 0;
  return error;
}

std::string Simulation::Compute(size_t i, RoundKey round, Interval interval) {
  const uint64_t error = ErrorOf(i, round.round, interval);
  const JobPlan* plan = PlanOf(round.job);
  if (plan == nullptr || !plan->is_training) return PayloadOf(SumOf(round.round, interval) + error);
  Floats sum = BlockGradient(workers_[i]->parameters, round.round, interval);
  if (error != 0) sum[error % sum.size()] += 1 + static_cast<float>(error >> 44);
  return BytesOf(sum);
}

void Simulation::HandOver(size_t i, ExchangeRequest& request) {
  for (ReportedSlice& slice : request.slices) {
    const JobPlan* plan = PlanOf(slice.round.job);
    if (plan == nullptr || !plan->is_training || Chance(0.5)) continue;
    Core::HandedOver result{slice.lease, slice.round, slice.payload, slice.digest, nullptr};
    const bool is_put = core_->ResultPut(Now(), workers_[i]->session, TokenId{}, std::move(result)).ok();
    outcome_.handed_over += is_put;
    if (!is_put && (calm_ || Chance(0.5))) continue;
    slice.is_put = true;
    slice.payload.clear();
  }
}

void Simulation::FinishSlice(size_t i, uint64_t run, RoundKey round, LeaseId id, Interval interval, double seconds) {
  Worker& worker = *workers_[i];
  if (worker.run != run || !worker.up) return;
  if (Frozen(worker)) {
    At(worker.frozen_until - now_, [=, this] { FinishSlice(i, run, round, id, interval, seconds); });
    return;
  }
  ReportedSlice slice;
  slice.round = round;
  slice.interval = interval;
  slice.lease = id;
  slice.busy_seconds = seconds;
  slice.payload = Compute(i, round, interval);
  slice.digest = Sha256(slice.payload);
  worker.book.SliceDone(std::move(slice));
  NextSlice(i, interval.end);
  Pump(i);
}

void Simulation::Call(size_t i) {
  Worker& worker = *workers_[i];
  const CallId call = NewCall();
  worker.calls.insert(call);
  call_owner_[call] = i;
  const int copies = Chance(chances_.double_request) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    if (Chance(chances_.lose_message)) continue;
    const CallId id = copy == 0 ? call : NewCall();
    At(Milliseconds(1, 60), [this, id, request = *worker.request, life = worker.life, i] {
      if (!core_) {
        if (workers_[i]->life == life) CallFailed(*workers_[i], id, absl::UnavailableError("no coordinator"));
        return;
      }
      ExchangeRequest sent = request;
      if (rules_.training) HandOver(i, sent);
      Handle(core_->Exchange(Now(), id, std::move(sent)));
    });
  }
  At(kCallTimeout, [this, i, call] {
    if (workers_[i]->calls.contains(call)) CallFailed(*workers_[i], call, absl::DeadlineExceededError("timeout"));
  });
}

void Simulation::Respond(Outbox::ExchangeAnswer answer) {
  if (Chance(chances_.lose_message)) return;
  At(Milliseconds(1, 60), [this, answer = std::move(answer)] {
    const auto it = call_owner_.find(answer.call);
    if (it == call_owner_.end()) return;
    const size_t i = it->second;
    Worker& worker = *workers_[i];
    if (Frozen(worker)) {
      At(worker.frozen_until - now_, [this, answer] { Respond(answer); });
      return;
    }
    if (!answer.status.ok()) return CallFailed(worker, answer.call, answer.status);
    Receive(i, answer.reply);
  });
}

void Simulation::Receive(size_t i, const ExchangeReply& reply) {
  Worker& worker = *workers_[i];
  for (const CallId call : worker.calls) call_owner_.erase(call);
  worker.calls.clear();
  if (!worker.request || reply.seq != worker.request->seq) return Fail("a reply to another seq arrived");
  const ExchangeRequest sent = *std::move(worker.request);
  worker.request.reset();
  for (const SliceAnswer& answer : reply.answers) {
    outcome_.repeats += answer.verdict == SliceVerdict::kRepeat;
    outcome_.overlaps += answer.verdict == SliceVerdict::kOverlap;
    outcome_.not_here += answer.verdict == SliceVerdict::kNotHere;
    if (answer.verdict == SliceVerdict::kInvalid) Fail(absl::StrCat("refused as invalid: ", answer.message));
    if (answer.verdict == SliceVerdict::kDisagreement && !rules_.liars) Fail("honest workers are said to disagree");
    if (calm_ && answer.verdict != SliceVerdict::kCommitted)
      Fail("a slice was not counted although nothing went wrong");
  }
  const LeaseBook::Actions actions = worker.book.Apply(sent, reply);
  outcome_.shrinks += reply.orders.shrunk.size();
  for (const Shrink& shrink : actions.shrink)
    worker.book.Shrunk(shrink.lease, shrink.end, std::max(shrink.end, worker.claimed));
  for (const LeaseId lease : actions.cancel) {
    if (worker.running != lease) continue;
    ++worker.run;
    worker.running.reset();
  }
  Pump(i);
}

void Simulation::CallFailed(Worker& worker, CallId call, const absl::Status& status) {
  const auto it = call_owner_.find(call);
  if (it == call_owner_.end()) return;
  const size_t i = it->second;
  call_owner_.erase(it);
  At(Milliseconds(50, 1000), [this, i, call, status, life = worker.life] {
    Worker& later = *workers_[i];
    if (later.life != life || later.calls.erase(call) == 0 || !later.request) return;
    if (absl::IsNotFound(status) || absl::IsAborted(status) || absl::IsPermissionDenied(status)) return Join(i);
    Call(i);  // The same seq again.
  });
}

}  // namespace potluck::simulation
