// Sessions and exchanges; jobs are in core_jobs.cc, what is special about volatile rounds in core_volatile.cc.
#include "coordinator/core/core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace potluck {
namespace {

// After so many impossible slices an installation is quarantined. One may be a flipped bit; three are a pattern.
constexpr uint64_t kStrikes = 3;
// Facts that must be stored for a job to go on are tried again after this.
constexpr absl::Duration kRetryStore = absl::Seconds(5);
// Of each thing that a worker says of itself, this much is kept: bytes.
constexpr size_t kMaxDescription = 128;

// Whole characters of UTF-8 only: messages carry nothing else.
std::string Shortened(const std::string& text) {
  size_t size = std::min(text.size(), kMaxDescription);
  while (size > 0 && size < text.size() && (text[size] & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

WorkerDescribed DescriptionOf(WorkerId worker, const JoinRequest& request, absl::Time at) {
  std::vector<std::string> classes;
  for (const DeviceInfo& device : request.devices) {
    const std::string& name = device.numerics_class.empty() ? device.kind : device.numerics_class;
    if (std::find(classes.begin(), classes.end(), name) == classes.end()) classes.push_back(name);
  }
  return {worker,
          request.name,
          Shortened(request.version),
          Shortened(request.platform),
          Shortened(absl::StrJoin(classes, ", ")),
          at};
}

bool SameDescription(const WorkerDescribed& a, const WorkerDescribed& b) {
  return a.name == b.name && a.version == b.version && a.platform == b.platform && a.devices == b.devices;
}

}  // namespace

Core::Core(CoreOptions options, PlannerFactory factory, BlobReader blobs)
    : options_(std::move(options)),
      factory_(std::move(factory)),
      blobs_(std::move(blobs)),
      scheduler_(options_.scheduler) {}

void Core::Send(Outbox& outbox, std::vector<Fact> facts, Append append) {
  const uint64_t id = next_append_++;
  appends_.emplace(id, std::move(append));
  outbox.appends.push_back({id, std::move(facts)});
}

void Core::SendUntilStored(Outbox& outbox, std::vector<Fact> facts, Append append) {
  append.otherwise = [this, facts, then = append.then, job = append.job](Instant now, Outbox&) {
    later_.emplace(now.monotonic + kRetryStore, [this, facts, then, job](Instant, Outbox& later) {
      Append again;
      again.then = then;
      again.job = job;
      SendUntilStored(later, facts, std::move(again));
    });
  };
  Send(outbox, std::move(facts), std::move(append));
}

// ---- Joining and leaving

absl::Status Core::Join(Instant now, const JoinRequest& request, Outbox& outbox) {
  if (const auto known = worker_by_installation_.find(request.installation);
      known != worker_by_installation_.end() && quarantined_.contains(known->second)) {
    return absl::PermissionDeniedError(
        absl::StrCat("worker ", request.name, " is quarantined: ", quarantined_.at(known->second).reason,
                     "; check that machine's memory and GPU, then let it in again with `potluck workers pardon`"));
  }
  const auto [worker, is_new] = worker_by_installation_.try_emplace(request.installation);
  if (is_new) worker->second = WorkerId{++last_worker_};
  std::vector<Fact> facts;
  std::string& name = worker_names_[worker->second];
  if (is_new || name != request.name) {
    name = request.name;
    facts.push_back(WorkerSeen{worker->second, request.installation, request.name, now.wall});
  }
  std::vector<WorkerDescribed>& history = worker_history_[worker->second];
  const WorkerDescribed description = DescriptionOf(worker->second, request, now.wall);
  if (history.empty() || !SameDescription(history.back(), description)) {
    history.push_back(description);
    facts.push_back(description);
  }
  if (!facts.empty()) SendUntilStored(outbox, std::move(facts), Append{});
  // The same installation joins again: its former session is dead, whatever its connection says.
  std::vector<SessionId> former;
  for (const auto& [id, session] : sessions_) {
    if (session.worker == worker->second) former.push_back(id);
  }
  for (const SessionId id : former) {
    RemoveSession(now, id, absl::AbortedError("this worker has joined again in another session"), SessionEnd::kReplaced,
                  outbox);
  }
  Session& session = sessions_[request.session];
  session.joined = request;
  session.worker = worker->second;
  session.heard = now.monotonic;
  if (request.session_age > absl::ZeroDuration()) session.began = now.wall - request.session_age;
  OpenEntry(now, session);
  WorkerInfo info{worker->second, {}, request.ends_at};
  if (request.metered) info.lease_time = 3 * options_.metered_interval;
  for (const DeviceInfo& device : request.devices)
    info.slots.push_back({device.numerics_class, device.implementations});
  scheduler_.AddSession(now.monotonic, request.session, std::move(info));
  outbox.log.push_back(absl::StrCat("worker ", request.name, " joined with ", request.devices.size(), " device(s)"));
  Wake(now, outbox);
  return absl::OkStatus();
}

void Core::RemoveSession(Instant now, SessionId id, const absl::Status& reason, SessionEnd end, Outbox& outbox) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  CloseEntry(now, session, end);
  if (session.call) Answer(session, outbox, reason);
  Unpark(session);
  scheduler_.RemoveSession(id);
  with_handed_over_.erase(id);
  sessions_.erase(it);
}

absl::Status Core::Drain(const std::string& worker_name, Outbox& outbox, Instant now) {
  bool found = false;
  for (auto& [id, session] : sessions_) {
    if (session.joined.name != worker_name) continue;
    found = session.drain = true;
    if (session.parked) Answer(session, outbox);
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no worker named \"", worker_name, "\" is at the table"));
  Wake(now, outbox);
  return absl::OkStatus();
}

Outbox Core::DropSessionsOf(Instant now, TokenId token) {
  Outbox outbox;
  std::vector<SessionId> dropped;
  for (const auto& [id, session] : sessions_) {
    if (session.joined.token == token) dropped.push_back(id);
  }
  for (const SessionId id : dropped) {
    RemoveSession(now, id, absl::UnauthenticatedError("the token was revoked"), SessionEnd::kRevoked, outbox);
  }
  Wake(now, outbox);
  return outbox;
}

// ---- Exchange

Outbox Core::Exchange(Instant now, CallId call, ExchangeRequest request) {
  Outbox outbox;
  const auto it = sessions_.find(request.session);
  if (it == sessions_.end()) {
    outbox.exchanges.push_back({call, absl::NotFoundError("unknown session: join again"), {}});
    return outbox;
  }
  Session& session = it->second;
  if (request.seq < session.seq) {
    outbox.exchanges.push_back(
        {call, absl::FailedPreconditionError(absl::StrCat("seq ", request.seq, " is older than ", session.seq)), {}});
    return outbox;
  }
  session.heard = now.monotonic;
  session.connected = true;
  if (session.entry == 0) OpenEntry(now, session);
  if (session.call) {  // One call in flight: the newer one takes over.
    calls_.erase(*session.call);
    outbox.exchanges.push_back({*session.call, absl::CancelledError("a newer call took over"), {}});
  }
  session.call = call;
  calls_[call] = request.session;
  Unpark(session);
  // What could not be stored was not acknowledged: the same seq again is a new attempt.
  const bool has_failed = !session.append_failure.ok() && session.appends == 0;
  if (request.seq == session.seq && !has_failed) {
    if (session.answered) {
      Answer(session, outbox);
    } else if (session.appends == 0) {
      FinishExchange(now, request.session, outbox);
    }  // Else the store has yet to answer: this call will hear of it.
    Wake(now, outbox);
    return outbox;
  }
  session.seq = request.seq;
  session.answered = false;
  session.reply = {};
  session.reply.seq = request.seq;
  session.appends = 0;
  session.append_failure = absl::OkStatus();
  session.report = std::move(request.report);
  session.known_rounds = std::move(request.known_rounds);
  session.no_wait = request.no_wait;
  TakeSlices(now, session, request, outbox);
  if (session.appends == 0) FinishExchange(now, request.session, outbox);
  Wake(now, outbox);
  return outbox;
}

SliceAnswer Core::CheckSlice(Session& session, ReportedSlice& slice) {
  const auto it = jobs_.find(slice.round.job);
  if (it == jobs_.end() || !it->second.round || it->second.key() != slice.round || it->second.ending) {
    return {SliceVerdict::kClosed, ""};
  }
  const Job& job = it->second;
  // Computed before a crash, it may be of other parameters than this round's.
  const bool is_stale = slice.lease.epoch != static_cast<uint64_t>(options_.scheduler.epoch);
  if (job.is_volatile() && is_stale) return {SliceVerdict::kClosed, ""};
  if (slice.interval.empty() || slice.interval.end > job.round->plan->Size()) {
    return {SliceVerdict::kInvalid, absl::StrCat("slice ", ToString(slice.interval), " is outside its round [0, ",
                                                 job.round->plan->Size(), ")")};
  }
  if (slice.digest.empty()) {
    return {SliceVerdict::kInvalid,
            absl::StrCat("the digest of slice ", ToString(slice.interval), " is not the SHA-256 of its payload")};
  }
  if (slice.is_put) {
    if (SliceAnswer found = FindHandedOver(session, slice, job); found.verdict != SliceVerdict::kCommitted)
      return found;
  }
  if (slice.payload.size() > job.round->max_result_bytes) {
    return {SliceVerdict::kInvalid,
            absl::StrCat("the result of slice ", ToString(slice.interval), " has ", slice.payload.size(),
                         " bytes; allowed are ", job.round->max_result_bytes)};
  }
  if (const Status checked = job.planner->Check(slice.interval, slice.payload); !checked.ok()) {
    return {SliceVerdict::kInvalid, checked.message()};
  }
  return {SliceVerdict::kCommitted, ""};
}

Core::SliceOnItsWay Core::OnItsWay(Instant now, Session& session, ReportedSlice& reported) const {
  SliceOnItsWay slice;
  slice.session = session.joined.session;
  slice.seq = session.seq;
  slice.answer = session.reply.answers.size();
  slice.slot = reported.slot;
  slice.slice = {
      reported.round,        reported.interval, std::move(reported.digest), std::move(reported.payload), session.worker,
      reported.busy_seconds, now.wall};
  return slice;
}

void Core::TakeSlices(Instant now, Session& session, ExchangeRequest& request, Outbox& outbox) {
  std::map<JobId, std::pair<std::vector<Fact>, Append>> by_job;  // No transaction crosses jobs.
  std::set<JobId> counted_at_once;
  std::vector<FinishedTrial> finished;
  std::erase_if(session.trials, [this](const auto& trial) { return !scheduler_.IsTrial(trial.first); });
  for (ReportedSlice& reported : request.slices) {
    SliceAnswer answer = CheckSlice(session, reported);
    Acceptance acceptance = Acceptance::kClosed;
    if (answer.verdict == SliceVerdict::kCommitted) {
      Job& job = jobs_.at(reported.round.job);
      job.contributions[session.worker].bytes_sent += reported.payload.size();
      if (TakeTrialSlice(session, reported, answer, finished)) {
      } else if (job.is_volatile()) {
        answer.verdict = CountAtOnce(now, session, reported, outbox);
        counted_at_once.insert(reported.round.job);
      } else {
        acceptance = scheduler_.Accept(reported.round, reported.interval, reported.lease);
        if (acceptance == Acceptance::kClosed) answer.verdict = SliceVerdict::kClosed;
      }
    }
    if (acceptance != Acceptance::kClosed) {
      SliceOnItsWay slice = OnItsWay(now, session, reported);
      slice.pending = acceptance == Acceptance::kStore;
      auto& [facts, append] = by_job[reported.round.job];
      facts.push_back(slice.slice);
      append.slices.push_back(std::move(slice));
    }
    session.reply.answers.push_back(std::move(answer));
  }
  rooms_of_merged_.clear();
  for (auto& [job, batch] : by_job) {
    batch.second.job = job;
    batch.second.session = request.session;
    ++session.appends;
    Send(outbox, std::move(batch.first), std::move(batch.second));
  }
  for (const SliceAnswer& answer : session.reply.answers) {
    if (answer.verdict == SliceVerdict::kInvalid) Strike(now, request.session, answer.message, outbox);
  }
  for (const FinishedTrial& trial : finished) TrialFinished(now, trial, outbox);
  for (const JobId id : counted_at_once) {
    Job& job = jobs_.at(id);
    if (scheduler_.IsComplete(job.key())) Advance(now, job, outbox);
  }
}

void Core::Strike(Instant now, SessionId id, const std::string& sentence, Outbox& outbox) {
  Session& session = sessions_.at(id);
  outbox.log.push_back(absl::StrCat("refused a slice of worker ", session.joined.name, ": ", sentence));
  if (++session.refused == kStrikes) {
    Condemn(now, session.worker, absl::StrCat("it sent ", kStrikes, " impossible results"), outbox);
  }
}

void Core::FinishExchange(Instant now, SessionId id, Outbox& outbox) {
  Session& session = sessions_.at(id);
  if (!session.append_failure.ok()) {
    // Not acknowledged: the worker keeps its slices and sends them again.
    session.answered = true;
    if (session.call) Answer(session, outbox, session.append_failure);
    return;
  }
  if (quarantined_.contains(session.worker)) return;  // It is about to end.
  if (!session.connected) return;  // Nobody would hear the answer; the same seq sent again comes here once more.
  if (session.drain) session.report.draining = true;
  session.reply.orders = scheduler_.Exchange(now.monotonic, id, session.report);
  const bool has_news = !session.reply.orders.empty() || !session.reply.answers.empty() || session.drain;
  if (has_news || session.no_wait) {
    Answer(session, outbox);
    // Tick finds that it is gone, then and not whenever there is something else to do.
    if (HasLeft(session)) later_.emplace(now.monotonic + options_.scheduler.disconnect_grace, [](Instant, Outbox&) {});
    return;
  }
  session.parked = true;
  session.hold_until = now.monotonic + options_.longest_hold;
  holds_.insert({session.hold_until, id});
}

void Core::Answer(Session& session, Outbox& outbox, absl::Status status) {
  Unpark(session);
  ExchangeReply& reply = session.reply;
  if (!session.answered) {
    session.answered = true;
    reply.drain = session.drain;
    reply.call_within = session.joined.metered ? options_.metered_interval : options_.longest_hold;
    for (const Grant& grant : reply.orders.granted) {
      const Job* job = FindJob(grant.round.job);
      if (job == nullptr || !job->round) continue;
      bool is_known = std::find(session.known_rounds.begin(), session.known_rounds.end(), grant.round) !=
                      session.known_rounds.end();
      // What it knows of a volatile round may be from before a restart: another round of the same number.
      std::erase_if(session.told_rounds,
                    [&](RoundKey told) { return told.job == grant.round.job && told < grant.round; });
      if (job->is_volatile()) is_known = !session.told_rounds.insert(grant.round).second && is_known;
      if (is_known) continue;
      session.known_rounds.push_back(grant.round);
      RoundInfo& info = reply.rounds.emplace_back();
      info = {grant.round, job->submitted.workload, job->round->payload, job->blobs};
      for (const auto& bulk : job->bulk) info.bulk.push_back(bulk->digest);
    }
  }
  if (!session.call) return;
  calls_.erase(*session.call);
  outbox.exchanges.push_back({*session.call, std::move(status), reply});
  session.call.reset();
}

void Core::Unpark(Session& session) {
  if (session.parked) holds_.erase({session.hold_until, session.joined.session});
  session.parked = false;
}

Outbox Core::CallLost(Instant now, CallId call) {
  Outbox outbox;
  const auto it = calls_.find(call);
  if (it == calls_.end()) return outbox;
  Session& session = sessions_.at(it->second);
  session.call.reset();
  session.connected = false;
  Unpark(session);  // The same seq sent again is looked at anew.
  scheduler_.Disconnected(now.monotonic, it->second);
  calls_.erase(it);
  return outbox;
}

void Core::Wake(Instant now, Outbox& outbox) {
  RemoveCondemned(now, outbox);
  DropHandedOver(now);
  // Orders given to one may concern others (a tail to give up), who are then woken too.
  for (std::vector<SessionId> woken = scheduler_.TakeWakeups(); !woken.empty(); woken = scheduler_.TakeWakeups()) {
    for (const SessionId id : woken) {
      const auto it = sessions_.find(id);
      if (it == sessions_.end() || !it->second.parked) {
        // Without a waiting call nobody would hear the orders; they are given at its next Exchange.
        scheduler_.NotListening(id);
        continue;
      }
      Session& session = it->second;
      session.reply.orders = scheduler_.Poll(now.monotonic, id);
      if (!session.reply.orders.empty()) Answer(session, outbox);
    }
  }
  StoreBook(now, outbox);
}

// ---- The store's answers

Outbox Core::Stored(Instant now, uint64_t id, const absl::Status& status, const std::vector<Verdict>& verdicts) {
  Outbox outbox;
  const auto it = appends_.find(id);
  if (it == appends_.end()) return outbox;
  Append append = std::move(it->second);
  appends_.erase(it);
  // Another coordinator owns the state, or the database is damaged: nothing will ever be stored again.
  if (absl::IsAborted(status) || absl::IsDataLoss(status)) outbox.fatal = status;
  if (!append.slices.empty()) {
    SlicesStored(now, append, status, verdicts, outbox);
  } else {
    if (append.call) outbox.requests.push_back({*append.call, status, append.job});
    if (status.ok() && append.then) append.then(now, outbox, verdicts);
    if (!status.ok() && append.otherwise) append.otherwise(now, outbox);
    if (!status.ok()) outbox.log.push_back(absl::StrCat("could not be stored: ", std::string(status.message())));
  }
  Wake(now, outbox);
  return outbox;
}

void Core::SlicesStored(Instant now, Append& append, const absl::Status& status, const std::vector<Verdict>& verdicts,
                        Outbox& outbox) {
  const auto it = sessions_.find(append.session);
  Session* session = it == sessions_.end() ? nullptr : &it->second;
  for (size_t i = 0; i < append.slices.size(); ++i) {
    SliceOnItsWay& slice = append.slices[i];
    if (!status.ok()) {
      if (slice.pending) scheduler_.Dropped(slice.slice.key, slice.slice.interval);
      continue;
    }
    const SliceVerdict verdict = SliceStored(now, slice, verdicts[i], outbox);
    if (session == nullptr) continue;
    session->slices += verdict == SliceVerdict::kCommitted ? 1 : 0;
    if (session->seq == slice.seq) session->reply.answers[slice.answer].verdict = verdict;
  }
  if (session != nullptr && session->seq == append.slices.front().seq) {
    // Whatever the store's trouble is, to the worker it means: keep it and send it again later.
    if (!status.ok()) session->append_failure = absl::ResourceExhaustedError(status.message());
    if (--session->appends == 0) FinishExchange(now, append.session, outbox);
  }
  Job* job = FindJob(append.job);
  if (job != nullptr && scheduler_.IsComplete(job->key())) Advance(now, *job, outbox);
}

SliceVerdict Core::SliceStored(Instant now, SliceOnItsWay& slice, Verdict verdict, Outbox& outbox) {
  SliceCommitted& fact = slice.slice;
  Job* job = FindJob(fact.key.job);
  if (verdict != Verdict::kStored && slice.pending) scheduler_.Dropped(fact.key, fact.interval);
  switch (verdict) {
    case Verdict::kStored:
      break;
    case Verdict::kRepeat:
      return SliceVerdict::kRepeat;
    case Verdict::kDisagreement:
      if (job != nullptr) ++job->disagreements;
      outbox.log.push_back(absl::StrCat("workers disagree about ", ToString(fact.interval), " of job ",
                                        ToString(fact.key.job), ": worker ", worker_names_[fact.worker],
                                        " reports another result than was counted"));
      if (job == nullptr || !job->is_volatile()) {
        Send(outbox, {SliceDisagreed{fact.key, fact.interval, fact.digest, fact.worker, now.wall}}, Append{});
      }
      if (job != nullptr) CheckContested(*job, fact, outbox);
      return SliceVerdict::kDisagreement;
    case Verdict::kOverlap:
      return SliceVerdict::kOverlap;
    case Verdict::kUnknown:
      return SliceVerdict::kClosed;
  }
  if (job == nullptr || job->key() != fact.key || !job->round) return SliceVerdict::kCommitted;
  const WorkerId worker = fact.worker;
  scheduler_.Committed(slice.session, slice.slot, fact.key, fact.interval, fact.busy_seconds);
  if (job->rebuilds > 0) job->committed_meanwhile.push_back(fact);
  const bool is_distrusted = quarantined_.contains(worker);
  if (!is_distrusted && IsToBeChecked(*job, fact.interval)) {
    const RoundLedger::Entry* entry = job->is_volatile() ? job->ledger.Find(fact.interval) : nullptr;
    const Part part{fact.interval, entry == nullptr ? fact.payload : ""};
    StartCheck(*job, fact, scheduler_.WayOf(slice.session, slice.slot),
               entry != nullptr ? entry->result : DigestOfResult(*job->planner, {&part, 1}));
  }
  if (const absl::Status merged = MergeSlice(*job, std::move(fact), worker_names_[worker]); !merged.ok()) {
    End(now, *job, JobOutcome::kFailed, std::string(merged.message()), std::nullopt, outbox);
  }
  Contribution& contribution = job->contributions[worker];
  if (contribution.devices.empty() && !worker_history_[worker].empty()) {
    contribution.devices = worker_history_[worker].back().devices;
  }
  // It was on its way to the store when its worker was found wrong.
  if (is_distrusted) DistrustSlices(*job, worker, outbox);
  return SliceVerdict::kCommitted;
}

// ---- Time

Outbox Core::Tick(Instant now) {
  Outbox outbox;
  while (!holds_.empty() && holds_.begin()->first <= now.monotonic) {
    const SessionId id = holds_.begin()->second;
    Session& session = sessions_.at(id);
    session.reply.orders = scheduler_.Poll(now.monotonic, id);
    Answer(session, outbox);
  }
  while (!later_.empty() && later_.begin()->first <= now.monotonic) {
    auto due = later_.extract(later_.begin());
    due.mapped()(now, outbox);
  }
  scheduler_.Tick(now.monotonic);
  std::vector<SessionId> forgotten;
  if (book_.next_beat() <= now.monotonic) LookAround(now);
  for (const auto& [id, session] : sessions_) {
    const absl::Duration patience = HasLeft(session) ? options_.scheduler.disconnect_grace : options_.forget_session;
    if (session.heard + patience <= now.monotonic) forgotten.push_back(id);
  }
  for (const SessionId id : forgotten) {
    RemoveSession(now, id, absl::NotFoundError("unknown session: join again"), SessionEnd::kLost, outbox);
  }
  Wake(now, outbox);
  return outbox;
}

absl::Time Core::NextDeadline() const {
  absl::Time deadline = std::min(scheduler_.NextDeadline(), book_.next_beat());
  if (!holds_.empty()) deadline = std::min(deadline, holds_.begin()->first);
  if (!later_.empty()) deadline = std::min(deadline, later_.begin()->first);
  return deadline;
}

}  // namespace potluck
