// The coordinator's mind: jobs, sessions and the scheduler tied together as one deterministic state machine.
//
// No thread, no clock, no randomness, no protobuf, no I/O: each event is one call with `now`, and what shall be done in
// the world stands in the Outbox that it returns. The service serialises the calls under one mutex; the simulator
// drives the same class with a variable as its clock. Not thread-safe.
//
// Walk of a slice: Exchange -> Planner::Check -> Scheduler::Accept -> Outbox::appends -> (store) -> Stored ->
// Planner::Merge, Scheduler::Committed -> Outbox::exchanges. Nothing is acknowledged before it is stored; but slices of
// trials (scheduler/trials.h), which are compared (checks.h) and not counted, and those of volatile rounds: they are in
// memory only. A slice of a volatile round is counted, or not (round_ledger.h), in the event that brings it; between
// rounds the planner's state is saved now and then (Outbox::saves), and from there a job goes on after a crash.
//
// The only thing it reads by itself is blobs, when a job's planner is made and when its saved state is restored.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/jobs.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/session_book.h"
#include "coordinator/scheduler/scheduler.h"

namespace potluck {

struct CoreOptions {
  SchedulerOptions scheduler;
  absl::Duration longest_hold = absl::Seconds(20);       // How long an Exchange with nothing to say is held.
  absl::Duration metered_interval = absl::Seconds(120);  // How often a worker on a metered link shall call.
  absl::Duration forget_session = absl::Minutes(30);     // A session that was silent for so long must join anew.
  size_t max_live_jobs = 1000;
  absl::Duration save_interval = absl::Seconds(30);     // Between saved states of a job whose rounds are volatile.
  absl::Duration retention = absl::InfiniteDuration();  // Ended jobs are deleted after this.
};

class Core {
 public:
  Core(CoreOptions options, PlannerFactory factory, BlobReader blobs = {});

  // ---- Start: takes over what is stored. Call before anything else; then, for each job's key in the outbox's
  // `rebuilds`, read its slices and call Rebuild.
  Outbox Recover(Instant now, const StoreContents& contents);
  // All committed slices of an open round, and which of them were verified, read from the store.
  Outbox Rebuild(Instant now, RoundKey key, const std::vector<SliceCommitted>& slices,
                 const std::vector<SliceVerified>& verifications);

  // ---- Workers
  // PermissionDenied for a quarantined installation. The answer is complete: joining is not stored, but the name is.
  absl::Status Join(Instant now, const JoinRequest& request, Outbox& outbox);
  Outbox Exchange(Instant now, CallId call, ExchangeRequest request);
  // The transport lost the call (or its client gave it up): no answer is wanted any more.
  Outbox CallLost(Instant now, CallId call);
  // ---- Results that are too large for an Exchange (Workers.PutResult)
  struct HandedOver {
    LeaseId lease;
    RoundKey round;
    std::string payload;
    std::string digest;          // SHA-256 of the payload.
    std::shared_ptr<void> room;  // Let go when the payload is.
    absl::Time at = {};          // Monotonic; ResultPut sets it.
  };
  // Whether the session may hand over a result of so many bytes now: PermissionDenied unless it holds that lease,
  // InvalidArgument if the round has no such results.
  absl::Status MayPut(SessionId session, TokenId token, LeaseId lease, RoundKey round, uint64_t size) const;
  // Keeps it until an Exchange names it, which is to be soon, or the lease or the session goes.
  absl::Status ResultPut(Instant now, SessionId session, TokenId token, HandedOver result);
  // The worker is asked to finish what it computes and leave. NotFound for an unknown name.
  absl::Status Drain(const std::string& worker_name, Outbox& outbox, Instant now);
  // Quarantined workers of that name may join again; answered in `requests`. NotFound if there is none.
  Outbox Pardon(Instant now, CallId call, const std::string& worker_name);
  // The coordinator is about to stop, and this is the last call: whoever is at the table is so until now.
  Outbox Stop(Instant now);
  // A revoked token's sessions end.
  Outbox DropSessionsOf(Instant now, TokenId token);

  // ---- Jobs. Each is answered in the outbox's `requests`, once durable.
  // `blobs` are digests of what it reads, each once; they must be complete and stay so meanwhile.
  Outbox Submit(Instant now, CallId call, JobSubmitted job, std::vector<std::string> blobs = {});
  Outbox Cancel(Instant now, CallId call, JobId job);
  Outbox Delete(Instant now, CallId call, JobId job);
  // What is not given keeps its value.
  struct Settings {
    std::optional<bool> paused = std::nullopt;
    std::optional<int32_t> priority = std::nullopt;
    std::optional<double> weight = std::nullopt;
  };
  Outbox Change(Instant now, CallId call, JobId job, const Settings& settings);
  // Committed slices were found wrong: they do not count any more and are computed again. NotFound and
  // FailedPrecondition when their round is not open (any more).
  Outbox Retract(Instant now, CallId call, RoundKey key, const std::vector<Interval>& intervals,
                 const std::string& reason);

  // The answer to an Outbox::Distrust: which committed slices of the round are that worker's.
  Outbox RetractDistrusted(Instant now, const Outbox::Distrust& distrust, const std::vector<Interval>& intervals);

  // ---- The world
  Outbox Stored(Instant now, uint64_t append, const absl::Status& status, const std::vector<Verdict>& verdicts);
  // The answer to an Outbox::SaveState: the blob's digest. It must stay until this returns.
  Outbox StateWritten(Instant now, uint64_t save, const absl::StatusOr<std::string>& digest);
  Outbox Tick(Instant now);
  absl::Time NextDeadline() const;  // Monotonic.

  // ---- Blobs
  // Whether a worker may read the blob now: its session is live and holds a lease of a job that names it. Else
  // PermissionDenied says what is missing.
  absl::Status MayRead(SessionId session, TokenId token, const std::string& blob) const;
  // The same, with what the reader needs besides.
  struct Readable {
    JobId job{};                       // Whose it is.
    std::shared_ptr<const Bulk> bulk;  // The blob itself if it is in memory, while its round is open; else null.
  };
  absl::StatusOr<Readable> FindReadable(SessionId session, TokenId token, const std::string& blob) const;
  // So many bytes of the job's blobs went to that session.
  void BlobSent(SessionId session, JobId job, uint64_t bytes);
  // Whether the job names the blob, its saved states included. NotFound says what is not there.
  absl::Status IsNamed(JobId job, const std::string& blob) const;
  // Of all jobs, those included that this build cannot continue.
  std::vector<std::string> NamedBlobs() const;

  // ---- Display
  std::vector<JobView> Jobs() const;
  std::optional<JobView> Find(JobId job) const;
  std::vector<WorkerView> Workers(Instant now) const;
  size_t SessionCount() const { return sessions_.size(); }
  // What the worker had said of itself by then (wall clock); but for its name empty if nobody knows.
  WorkerDescribed DescribeWorker(WorkerId worker, absl::Time at) const;
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  struct Session {
    JoinRequest joined;
    WorkerId worker{};
    absl::Time began = absl::InfinitePast();  // The platform's session, by the wall clock; InfinitePast: not known.
    uint64_t entry = 0;                       // In the book; 0: it has been given up there.
    absl::Time heard;
    bool connected = true;
    bool drain = false;
    uint64_t slices = 0;
    uint64_t refused = 0;
    // The latest Exchange.
    uint64_t seq = 0;
    bool answered = true;
    ExchangeReply reply;         // Kept for a repetition of `seq`.
    std::optional<CallId> call;  // Waiting for the answer.
    size_t appends = 0;          // Of `seq`, not answered by the store.
    absl::Status append_failure;
    WorkerReport report;
    std::vector<RoundKey> known_rounds;
    bool no_wait = false;
    bool parked = false;  // Nothing to say yet: `call` is held until `hold_until`.
    absl::Time hold_until;
    std::map<LeaseId, std::vector<Part>> trials;    // What it has reported of them.
    std::set<RoundKey> told_rounds;                 // Volatile ones: they may be others than before a restart.
    std::map<std::string, HandedOver> handed_over;  // By digest.
  };
  struct FinishedTrial {
    RoundKey key;
    TrialSlice slice;  // The last one.
    WorkerId worker{};
    std::vector<Part> parts;  // Ascending.
  };
  struct Quarantined {
    std::string reason;
    bool is_stored = false;  // Not shown before.
  };
  struct SliceOnItsWay {
    SessionId session{};
    uint64_t seq = 0;
    size_t answer = 0;  // Index into the reply's answers.
    uint32_t slot = 0;
    bool pending = false;  // The scheduler answered kStore.
    SliceCommitted slice;
  };
  struct Append {
    std::vector<SliceOnItsWay> slices;
    // For everything else: what to do once it is durable, and whom to answer.
    std::function<void(Instant, Outbox&, const std::vector<Verdict>&)> then;
    std::function<void(Instant, Outbox&)> otherwise;  // ... if it could not be stored.
    std::optional<CallId> call;
    JobId job{};
    SessionId session{};
  };
  // A planner's state on its way to the blobs.
  struct Save {
    StateSaved fact;
    std::function<void(Instant, Outbox&, const absl::Status&)> then;
  };

  void Send(Outbox& outbox, std::vector<Fact> facts, Append append);
  void Answer(Session& session, Outbox& outbox, absl::Status status = absl::OkStatus());
  void Unpark(Session& session);
  void TakeSlices(Instant now, Session& session, ExchangeRequest& request, Outbox& outbox);
  // With the payload, if it was handed over apart.
  SliceAnswer CheckSlice(Session& session, ReportedSlice& slice);
  SliceAnswer FindHandedOver(Session& session, ReportedSlice& slice, const Job& job);
  SliceVerdict CountAtOnce(Instant now, Session& session, ReportedSlice& reported, Outbox& outbox);
  SliceOnItsWay OnItsWay(Instant now, Session& session, ReportedSlice& reported) const;
  void DropHandedOver(Instant now);
  // True if the slice is a trial's, and then it is dealt with.
  bool TakeTrialSlice(Session& session, ReportedSlice& reported, SliceAnswer& answer,
                      std::vector<FinishedTrial>& finished);
  void KnownAnswerFinished(Instant now, Job& job, const FinishedTrial& trial, const std::string& result,
                           Outbox& outbox);
  void CheckFinished(Instant now, Job& job, const FinishedTrial& trial, std::string result, Outbox& outbox);
  void TrialFinished(Instant now, const FinishedTrial& trial, Outbox& outbox);
  // Somebody, too late, found something else than was counted: where a job is verified at all, this slice is checked.
  void CheckContested(Job& job, const SliceCommitted& other, Outbox& outbox);
  bool IsToBeChecked(const Job& job, Interval interval) const;
  // `result`: digest of what was counted.
  void StartCheck(Job& job, const SliceCommitted& slice, const Way& way, std::string result);
  void Disagreed(Instant now, Job& job, CheckId id, Outbox& outbox);
  void StoreVerified(Instant now, Job& job, CheckId id, Outbox& outbox);
  void ForgetCheck(Job& job, CheckId id);
  void RebuildChecks(Job& job, const std::vector<SliceCommitted>& slices,
                     const std::vector<SliceVerified>& verifications);
  std::string WaitingFor(const Job& job) const;
  void SlicesStored(Instant now, Append& append, const absl::Status& status, const std::vector<Verdict>& verdicts,
                    Outbox& outbox);
  SliceVerdict SliceStored(Instant now, SliceOnItsWay& slice, Verdict verdict, Outbox& outbox);
  void FinishExchange(Instant now, SessionId id, Outbox& outbox);
  // The worker was found wrong. Its sessions end with the event that is being dealt with.
  void Condemn(Instant now, WorkerId worker, const std::string& reason, Outbox& outbox);
  void RemoveCondemned(Instant now, Outbox& outbox);
  void ForgetRunsOf(Job& job, WorkerId worker);
  void DistrustSlices(Job& job, WorkerId worker, Outbox& outbox);
  void StartRetraction(Instant now, Job& job, const std::vector<Interval>& intervals, const std::string& reason,
                       std::optional<CallId> call, Outbox& outbox);
  // The open volatile round: leases go on, but all that was merged is to be computed again.
  void ComputeAgain(Job& job, Outbox& outbox);
  void Strike(Instant now, SessionId id, const std::string& sentence, Outbox& outbox);
  void RemoveSession(Instant now, SessionId id, const absl::Status& reason, SessionEnd end, Outbox& outbox);
  // It said that it leaves, and it has nothing any more.
  static bool HasLeft(const Session& session) {
    return session.report.draining && session.report.held.empty() && !session.call;
  }
  void OpenEntry(Instant now, Session& session);
  void CloseEntry(Instant now, Session& session, SessionEnd end);
  void LookAround(Instant now);
  void StoreBook(Instant now, Outbox& outbox);
  void Wake(Instant now, Outbox& outbox);
  void DeleteOldJobs(Instant now, Outbox& outbox);
  void DeleteJob(JobId id, std::optional<CallId> call, Outbox& outbox);
  void Advance(Instant now, Job& job, Outbox& outbox);
  void OpenRound(Job& job, IntervalSet committed);
  void CloseRound(Job& job);
  void OpenVolatileRound(Instant now, Job& job, Round round, Outbox& outbox);
  // `has_state`: the planner has one.
  void End(Instant now, Job& job, JobOutcome outcome, const std::string& message, std::optional<CallId> call,
           Outbox& outbox, bool has_state = true);
  void StoreEnd(JobEnded ended, std::optional<CallId> call, Outbox& outbox);
  void SaveState(Instant now, Job& job, Outbox& outbox,
                 std::function<void(Instant, Outbox&, const absl::Status&)> then);
  void SaveAtEnd(Instant now, JobEnded ended, std::optional<CallId> call, int tries, Outbox& outbox);
  void Reopen(Instant now, RestoredJob restored, Outbox& outbox);
  // Sends the facts again after a while if they cannot be stored now (the disk is full, say).
  void SendUntilStored(Outbox& outbox, std::vector<Fact> facts, Append append);
  Job* FindJob(JobId id);
  static void Refuse(Outbox& outbox, CallId call, absl::Status status, JobId job = {});

  CoreOptions options_;
  PlannerFactory factory_;
  BlobReader blobs_;
  Scheduler scheduler_;
  std::map<JobId, Job> jobs_;
  std::map<std::string, JobId> job_by_request_;
  std::set<JobId> unreadable_jobs_;  // Stored, but not by a build that this one understands: they can only be deleted.
  std::vector<std::string> blobs_of_other_builds_;  // Named by stored jobs that could not be restored.
  std::map<SessionId, Session> sessions_;
  SessionBook book_;
  std::map<CallId, SessionId> calls_;
  std::set<std::pair<absl::Time, SessionId>> holds_;  // Parked calls by when they must be answered.
  std::map<std::string, WorkerId> worker_by_installation_;
  std::map<WorkerId, std::string> worker_names_;
  std::map<WorkerId, std::vector<WorkerDescribed>> worker_history_;  // What it said of itself, ascending by time.
  std::map<WorkerId, Quarantined> quarantined_;
  std::vector<WorkerId> condemned_;  // Whose sessions are to end.
  std::set<SessionId> with_handed_over_;
  std::vector<std::shared_ptr<void>> rooms_of_merged_;  // Let go when what was in them is merged.
  std::map<uint64_t, Append> appends_;
  std::map<uint64_t, Save> saves_;
  std::multimap<absl::Time, std::function<void(Instant, Outbox&)>> later_;  // Monotonic.
  uint64_t next_append_ = 1;
  uint64_t next_save_ = 1;
  uint64_t last_job_ = 0;
  uint64_t last_worker_ = 0;
  uint64_t last_check_ = 0;
};

}  // namespace potluck
