#include "coordinator/store/memory_store.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "coordinator/store/rules.h"

namespace potluck {

Verdict MemoryFacts::Write(const Fact& fact) {
  return std::visit([this](const auto& f) { return Apply(f); }, fact);
}

MemoryFacts::JobRows* MemoryFacts::FindJob(JobId job) {
  const auto it = jobs_.find(job);
  return it == jobs_.end() ? nullptr : &it->second;
}

const MemoryFacts::RoundRows* MemoryFacts::FindRound(RoundKey key) const {
  const auto job = jobs_.find(key.job);
  if (job == jobs_.end()) return nullptr;
  const auto round = job->second.rounds.find(key.round);
  return round == job->second.rounds.end() ? nullptr : &round->second;
}

MemoryFacts::RoundRows* MemoryFacts::FindRound(RoundKey key) {
  return const_cast<RoundRows*>(std::as_const(*this).FindRound(key));
}

const SliceCommitted* MemoryFacts::LastBelow(const RoundRows& round, uint64_t end) {
  const auto after = round.live.lower_bound(end);
  return after == round.live.begin() ? nullptr : &std::prev(after)->second;
}

bool MemoryFacts::HasExactly(const RoundRows& round, Interval interval) {
  const auto it = round.live.find(interval.begin);
  return it != round.live.end() && it->second.interval == interval;
}

Verdict MemoryFacts::Apply(const JobSubmitted& fact) {
  const bool known = std::any_of(jobs_.begin(), jobs_.end(), [&fact](const auto& job) {
    return job.second.submitted.request_id == fact.request_id;
  });
  if (known) return Verdict::kRepeat;
  if (fact.job <= last_job_) return Verdict::kDisagreement;
  jobs_[fact.job] = {fact, {fact.job, false, fact.priority, fact.weight, fact.at}, {}, {}};
  last_job_ = fact.job;
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const JobSettings& fact) {
  JobRows* job = FindJob(fact.job);
  if (job == nullptr || job->ended.has_value()) return Verdict::kUnknown;
  job->settings = fact;
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const JobEnded& fact) {
  JobRows* job = FindJob(fact.job);
  if (job == nullptr) return Verdict::kUnknown;
  if (job->ended.has_value()) {
    const bool equal =
        job->ended->outcome == fact.outcome && job->ended->result == fact.result && job->ended->message == fact.message;
    return equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  job->ended = fact;
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const JobDeleted& fact) {
  if (jobs_.erase(fact.job) == 0) return Verdict::kUnknown;
  std::erase_if(blobs_, [&fact](const BlobNamed& blob) { return blob.job == fact.job; });
  std::erase_if(disagreements_, [&fact](const Disagreement& row) { return std::get<RoundKey>(row).job == fact.job; });
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const RoundOpened& fact) {
  JobRows* job = FindJob(fact.key.job);
  if (job == nullptr) return Verdict::kUnknown;
  const auto later = job->rounds.lower_bound(fact.key.round);
  if (later != job->rounds.end()) {
    const RoundOpened& opened = later->second.opened;
    const bool equal = opened.key == fact.key && opened.size == fact.size && opened.durability == fact.durability &&
                       opened.planner_state == fact.planner_state;
    return equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  if (job->ended.has_value()) return Verdict::kUnknown;
  job->rounds[fact.key.round].opened = fact;
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const SliceCommitted& fact) {
  RoundRows* round = FindRound(fact.key);
  if (round == nullptr || fact.interval.empty() || fact.interval.end > round->opened.size) return Verdict::kUnknown;
  const SliceCommitted* last = LastBelow(*round, fact.interval.end);
  switch (FitOf(fact.interval, last != nullptr ? std::optional(last->interval) : std::nullopt)) {
    case Fit::kOverlap:
      return Verdict::kOverlap;
    case Fit::kSameBounds:
      return last->digest == fact.digest ? Verdict::kRepeat : Verdict::kDisagreement;
    case Fit::kDisjoint:
      break;
  }
  if (FindJob(fact.key.job)->ended.has_value()) return Verdict::kUnknown;
  round->live.emplace(fact.interval.begin, fact);
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const SliceRetracted& fact) {
  RoundRows* round = FindRound(fact.key);
  if (round == nullptr || FindJob(fact.key.job)->ended.has_value()) return Verdict::kUnknown;
  if (!HasExactly(*round, fact.interval)) return Verdict::kUnknown;
  round->live.erase(fact.interval.begin);
  round->verified.erase(fact.interval.begin);
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const SliceDisagreed& fact) {
  const RoundRows* round = FindRound(fact.key);
  if (round == nullptr || !HasExactly(*round, fact.interval)) return Verdict::kUnknown;
  const Disagreement row{fact.key, fact.interval.begin, fact.interval.end, fact.digest, fact.worker};
  return disagreements_.insert(row).second ? Verdict::kStored : Verdict::kRepeat;
}

Verdict MemoryFacts::Apply(const SliceVerified& fact) {
  RoundRows* round = FindRound(fact.key);
  if (round == nullptr || FindJob(fact.key.job)->ended.has_value()) return Verdict::kUnknown;
  if (!HasExactly(*round, fact.interval)) return Verdict::kUnknown;
  if (round->live.at(fact.interval.begin).digest != fact.digest) return Verdict::kUnknown;
  return round->verified.emplace(fact.interval.begin, fact).second ? Verdict::kStored : Verdict::kRepeat;
}

Verdict MemoryFacts::Apply(const WorkerQuarantined& fact) {
  for (const WorkerQuarantined& known : quarantined_) {
    if (known.worker == fact.worker) return Verdict::kRepeat;
  }
  quarantined_.push_back(fact);
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const WorkerPardoned& fact) {
  const size_t pardoned =
      std::erase_if(quarantined_, [&fact](const WorkerQuarantined& known) { return known.worker == fact.worker; });
  return pardoned > 0 ? Verdict::kStored : Verdict::kUnknown;
}

Verdict MemoryFacts::Apply(const WorkerSeen& fact) {
  WorkerSeen* known = nullptr;
  for (WorkerSeen& worker : workers_) {
    const bool same_id = worker.worker == fact.worker;
    if (same_id != (worker.installation == fact.installation)) return Verdict::kDisagreement;
    if (same_id) known = &worker;
  }
  if (known == nullptr) {
    workers_.push_back(fact);
    return Verdict::kStored;
  }
  if (known->name == fact.name) return Verdict::kRepeat;
  *known = fact;
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const WorkerDescribed& fact) {
  const auto last = std::find_if(descriptions_.rbegin(), descriptions_.rend(),
                                 [&fact](const WorkerDescribed& known) { return known.worker == fact.worker; });
  const bool repeated = last != descriptions_.rend() && last->name == fact.name && last->version == fact.version &&
                        last->platform == fact.platform && last->devices == fact.devices;
  if (repeated) return Verdict::kRepeat;
  descriptions_.push_back(fact);
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const TokenCreated& fact) {
  bool known = false;
  for (const TokenRow& token : tokens_) {
    const bool same_id = token.created.token == fact.token;
    if (same_id != (token.created.hash == fact.hash)) return Verdict::kDisagreement;
    known = known || same_id;
  }
  if (known) return Verdict::kRepeat;
  tokens_.push_back({fact});
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const TokenRevoked& fact) {
  for (TokenRow& token : tokens_) {
    if (token.created.token != fact.token) continue;
    return std::exchange(token.revoked, true) ? Verdict::kRepeat : Verdict::kStored;
  }
  return Verdict::kUnknown;
}

Verdict MemoryFacts::Apply(const BlobNamed& fact) {
  if (FindJob(fact.job) == nullptr) return Verdict::kUnknown;
  const bool known = std::any_of(blobs_.begin(), blobs_.end(), [&fact](const BlobNamed& blob) {
    return blob.job == fact.job && blob.digest == fact.digest;
  });
  if (known) return Verdict::kRepeat;
  blobs_.push_back(fact);
  return Verdict::kStored;
}

Verdict MemoryFacts::Apply(const StateSaved& fact) {
  JobRows* job = FindJob(fact.key.job);
  if (job == nullptr) return Verdict::kUnknown;
  const auto is_equal = [&fact](const StateSaved& known) {
    return known.key == fact.key && known.digest == fact.digest;
  };
  std::vector<StateSaved>& states = job->states;
  if (!states.empty() && is_equal(states.back())) return Verdict::kRepeat;
  if (job->ended.has_value()) return Verdict::kUnknown;
  std::erase_if(states, is_equal);
  states.push_back(fact);
  if (states.size() > kKeptStates) states.erase(states.begin());
  return Verdict::kStored;
}

StoreContents MemoryFacts::Contents() const {
  StoreContents contents;
  for (const auto& [id, rows] : jobs_) {
    StoredJob job{rows.submitted, rows.settings, {}, rows.ended.has_value(), rows.ended.value_or(JobEnded{})};
    job.states = rows.states;
    for (const auto& [number, round] : rows.rounds) job.rounds.push_back(round.opened);
    for (const Disagreement& row : disagreements_) job.disagreements += std::get<RoundKey>(row).job == id;
    contents.jobs.push_back(std::move(job));
  }
  contents.workers = workers_;
  contents.worker_descriptions = descriptions_;
  contents.quarantined = quarantined_;
  for (const TokenRow& token : tokens_) {
    (token.revoked ? contents.revoked_tokens : contents.tokens).push_back(token.created);
  }
  contents.blobs = blobs_;
  contents.last_job = last_job_;
  sessions_.AddTo(contents);
  return contents;
}

void MemoryFacts::ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) const {
  const RoundRows* round = FindRound(key);
  if (round == nullptr) return;
  for (const auto& [begin, slice] : round->live) visit(slice);
}

void MemoryFacts::ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) const {
  const RoundRows* round = FindRound(key);
  if (round == nullptr) return;
  for (const auto& [begin, verified] : round->verified) visit(verified);
}

std::vector<StoredSlice> MemoryFacts::ReadPage(const SlicePage& page) const {
  std::vector<StoredSlice> slices;
  const auto job = jobs_.find(page.job);
  if (job == jobs_.end()) return slices;
  size_t bytes = 0;
  const auto& rounds = job->second.rounds;
  for (auto round = rounds.lower_bound(page.round); round != rounds.end(); ++round) {
    const auto& live = round->second.live;
    auto it = round->first == page.round ? live.lower_bound(page.begin) : live.begin();
    for (; it != live.end(); ++it) {
      bytes += it->second.payload.size();
      if (slices.size() == page.max_slices || (!slices.empty() && bytes > page.max_bytes)) return slices;
      const auto verified = round->second.verified.find(it->first);
      slices.push_back({it->second, verified == round->second.verified.end() ? WorkerId{} : verified->second.second});
    }
  }
  return slices;
}

Epoch MemoryStore::epoch() const {
  MutexLock lock(&mutex_);
  return epoch_;
}

Epoch MemoryStore::RaiseEpoch() {
  MutexLock lock(&mutex_);
  return epoch_ = Epoch{static_cast<uint64_t>(epoch_) + 1};
}

void MemoryStore::Commit(PendingAppend& append) {
  append.status = std::exchange(fail_next_, absl::OkStatus());
  if (append.status.ok()) append.status = CheckNumbers(append.facts);
  if (append.status.ok() && append.epoch != epoch_) append.status = StaleEpoch(append.epoch, epoch_);
  if (!append.status.ok()) return;
  for (const Fact& fact : append.facts) append.verdicts.push_back(facts_.Write(fact));
}

void MemoryStore::Append(Epoch epoch, std::vector<Fact> facts, Done done) {
  PendingAppend append{epoch, std::move(facts), std::move(done), absl::OkStatus(), {}};
  {
    MutexLock lock(&mutex_);
    if (holding_) {
      held_.push_back(std::move(append));
      return;
    }
    Commit(append);
  }
  if (append.done) append.done(append.status, append.verdicts);
}

void MemoryStore::HoldCommits() {
  MutexLock lock(&mutex_);
  holding_ = true;
}

void MemoryStore::ReleaseHeld() {
  std::deque<PendingAppend> held;
  {
    MutexLock lock(&mutex_);
    holding_ = false;
    held.swap(held_);
    for (PendingAppend& append : held) Commit(append);
  }
  for (PendingAppend& append : held) {
    if (append.done) append.done(append.status, append.verdicts);
  }
}

void MemoryStore::LoseHeld() {
  MutexLock lock(&mutex_);
  holding_ = false;
  held_.clear();
}

void MemoryStore::FailNext(absl::Status status) {
  MutexLock lock(&mutex_);
  fail_next_ = std::move(status);
}

absl::StatusOr<StoreContents> MemoryStore::Load() {
  MutexLock lock(&mutex_);
  return facts_.Contents();
}

absl::Status MemoryStore::ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) {
  MutexLock lock(&mutex_);
  facts_.ForEachSlice(key, visit);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StoredSlice>> MemoryStore::ReadPage(const SlicePage& page) {
  MutexLock lock(&mutex_);
  return facts_.ReadPage(page);
}

absl::Status MemoryStore::ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) {
  MutexLock lock(&mutex_);
  facts_.ForEachVerification(key, visit);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StoredSession>> MemoryStore::ReadSessions(const SessionPage& page) {
  MutexLock lock(&mutex_);
  return facts_.sessions().ReadPage(page);
}

absl::StatusOr<std::vector<CoordinatorRan>> MemoryStore::ReadRuns(absl::Time since) {
  MutexLock lock(&mutex_);
  return facts_.sessions().Runs(since);
}

absl::Status MemoryStore::BackUp(const std::string& file) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot write ", file, ": this coordinator keeps its state in memory; start it with --state DIR"));
}

}  // namespace potluck
