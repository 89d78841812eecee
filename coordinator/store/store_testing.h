// Helpers of the stores' tests.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/notification.h"
#include "base/sha256.h"
#include "coordinator/store/store.h"

namespace potluck {

// A directory that is removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/potluck-XXXXXX");
    const char* made = mkdtemp(pattern.data());
    EXPECT_NE(made, nullptr) << pattern;
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Answer {
  absl::Status status;
  std::vector<Verdict> verdicts;
};

// Appends and waits.
inline Answer AppendAndWait(Store& store, Epoch epoch, std::vector<Fact> facts) {
  Answer answer;
  Notification done;
  store.Append(epoch, std::move(facts), [&](const absl::Status& status, const std::vector<Verdict>& verdicts) {
    answer = {status, verdicts};
    done.Notify();
  });
  done.WaitForNotification();
  return answer;
}

inline std::vector<Verdict> AppendAndWait(Store& store, std::vector<Fact> facts) {
  const Answer answer = AppendAndWait(store, store.epoch(), std::move(facts));
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  return answer.verdicts;
}

inline Verdict AppendOne(Store& store, Fact fact) {
  std::vector<Fact> facts;
  facts.push_back(std::move(fact));
  const std::vector<Verdict> verdicts = AppendAndWait(store, std::move(facts));
  EXPECT_EQ(verdicts.size(), 1u);
  return verdicts.empty() ? Verdict::kUnknown : verdicts[0];
}

inline absl::Time At(int64_t second) { return absl::FromUnixSeconds(1'700'000'000 + second); }

inline JobSubmitted Job(uint64_t id, const std::string& request = "") {
  JobSubmitted job;
  job.job = JobId{id};
  job.request_id = request.empty() ? absl::StrCat("request ", id) : request;
  job.workload = "nqueens";
  job.name = absl::StrCat("job ", id);
  job.spec = std::string("n\0=8", 4);
  job.submitted_by = "ada";
  job.priority = 3;
  job.weight = 1.5;
  job.at = At(id);
  job.verify = 0.25;
  return job;
}

inline RoundOpened Opened(uint64_t job, uint32_t round, uint64_t size) {
  return {{JobId{job}, round}, size, Durability::kLedger, absl::StrCat("state ", round), At(10)};
}

// A slice whose payload is `value`.
inline SliceCommitted Slice(uint64_t job, uint32_t round, Interval interval, const std::string& value = "sum",
                            uint64_t worker = 1) {
  return {{JobId{job}, round}, interval, Sha256(value), value, WorkerId{worker}, 0.25, At(20)};
}

inline JobEnded Ended(uint64_t job, const std::string& result = "92") {
  return {JobId{job}, JobOutcome::kDone, result, "", "", At(30)};
}

// "[0, 3)=sum [5, 9)=other": the slices that count.
inline std::string Slices(Store& store, uint64_t job, uint32_t round) {
  std::vector<std::string> parts;
  const absl::Status status = store.ForEachSlice({JobId{job}, round}, [&parts](const SliceCommitted& slice) {
    EXPECT_EQ(slice.digest, Sha256(slice.payload));
    parts.push_back(absl::StrCat(ToString(slice.interval), "=", slice.payload));
  });
  EXPECT_TRUE(status.ok()) << status;
  std::string text;
  for (const std::string& part : parts) absl::StrAppend(&text, text.empty() ? "" : " ", part);
  return text;
}

// The state at the opening of a round; its blob is said to be `value`.
inline StateSaved Saved(uint64_t job, uint32_t round, const std::string& value = "state") {
  return {{JobId{job}, round}, Sha256(value), "ada\t1", At(27)};
}

inline SliceVerified Verified(uint64_t job, uint32_t round, Interval interval, const std::string& value = "sum",
                              uint64_t second = 2) {
  return {{JobId{job}, round}, interval, Sha256(value), WorkerId{1}, WorkerId{second}, "avx2", At(25)};
}

// "[0, 3) by 2 (avx2)": the slices that were verified.
inline std::string Verifications(Store& store, uint64_t job, uint32_t round) {
  std::string text;
  const absl::Status status = store.ForEachVerification({JobId{job}, round}, [&text](const SliceVerified& verified) {
    EXPECT_EQ(verified.first, WorkerId{1});
    EXPECT_EQ(verified.digest.size(), 32u);
    EXPECT_EQ(verified.at, At(25));
    absl::StrAppend(&text, text.empty() ? "" : " ", ToString(verified.interval), " by ",
                    static_cast<uint64_t>(verified.second), " (", verified.implementation, ")");
  });
  EXPECT_TRUE(status.ok()) << status;
  return text;
}

inline SessionOpened Came(uint64_t number, uint64_t worker, absl::Time at, absl::Time began = At(-100)) {
  return {number, WorkerId{worker}, TokenId{1}, "lab", "colab", began, GpuState::kRefused, "cpu/avx2/x86-64", at};
}

// All of the contents, one fact a line.
inline std::string Describe(Store& store) {
  const absl::StatusOr<StoreContents> contents = store.Load();
  if (!contents.ok()) return contents.status().ToString();
  std::string text;
  for (const StoredJob& job : contents->jobs) {
    const JobSubmitted& s = job.submitted;
    absl::StrAppend(&text, "job ", ToString(s.job), " ", s.request_id, " ", s.workload, " ", s.name, " ", s.spec.size(),
                    " ", s.submitted_by, " ", s.priority, " ", s.weight, " ", absl::ToUnixNanos(s.at), " verify ",
                    s.verify, "\n settings ", job.settings.paused, " ", job.settings.priority, " ", job.settings.weight,
                    " ", absl::ToUnixNanos(job.settings.at), "\n");
    for (const RoundOpened& round : job.rounds) {
      absl::StrAppend(&text, " round ", round.key.round, " of ", round.size, " ", static_cast<int>(round.durability),
                      " ", round.planner_state, ": ", Slices(store, static_cast<uint64_t>(s.job), round.key.round),
                      "; verified ", Verifications(store, static_cast<uint64_t>(s.job), round.key.round), "\n");
    }
    for (const StateSaved& state : job.states) {
      absl::StrAppend(&text, " state at ", state.key.round, " ", HexDigest(state.digest).substr(0, 8), " ",
                      state.contributions, " ", absl::ToUnixNanos(state.at), "\n");
    }
    if (job.has_ended) {
      absl::StrAppend(&text, " ended ", static_cast<int>(job.ended.outcome), " ", job.ended.result, " ",
                      job.ended.message, "\n");
    }
  }
  for (const WorkerSeen& worker : contents->workers) {
    absl::StrAppend(&text, "worker ", static_cast<uint64_t>(worker.worker), " ", worker.installation, " ", worker.name,
                    " ", absl::ToUnixNanos(worker.at), "\n");
  }
  for (const WorkerDescribed& said : contents->worker_descriptions) {
    absl::StrAppend(&text, "worker ", static_cast<uint64_t>(said.worker), " is ", said.name, ", ", said.version, ", ",
                    said.platform, ", ", said.devices, " ", absl::ToUnixNanos(said.at), "\n");
  }
  for (const WorkerQuarantined& worker : contents->quarantined) {
    absl::StrAppend(&text, "quarantined ", static_cast<uint64_t>(worker.worker), " ", worker.reason, " ",
                    absl::ToUnixNanos(worker.at), "\n");
  }
  for (const auto* tokens : {&contents->tokens, &contents->revoked_tokens}) {
    for (const TokenCreated& token : *tokens) {
      absl::StrAppend(&text, tokens == &contents->tokens ? "token " : "revoked token ",
                      static_cast<uint64_t>(token.token), " ", token.name, " ", static_cast<int>(token.role), " ",
                      token.expires == absl::InfiniteFuture() ? "never" : "expires", "\n");
    }
  }
  for (const BlobNamed& blob : contents->blobs) {
    absl::StrAppend(&text, "blob ", HexDigest(blob.digest), " of ", ToString(blob.job), "\n");
  }
  const auto sessions = store.ReadSessions({.max_sessions = 1000});
  const auto runs = store.ReadRuns(absl::InfinitePast());
  if (!sessions.ok() || !runs.ok()) return absl::StrCat(text, "unreadable\n");
  for (const StoredSession& session : *sessions) {
    const SessionOpened& opened = session.opened;
    absl::StrAppend(&text, "session ", opened.number, " of ", static_cast<uint64_t>(opened.worker), " by token ",
                    static_cast<uint64_t>(opened.token), ": ", opened.name, " at ", opened.place, " since ",
                    opened.began == absl::InfinitePast() ? "?" : absl::StrCat(absl::ToUnixNanos(opened.began)), " gpu ",
                    static_cast<int>(opened.gpu), ", ", opened.devices, " ", absl::ToUnixNanos(opened.at));
    if (session.closed) {
      absl::StrAppend(&text, " closed ", static_cast<int>(session.closed->end), " ",
                      absl::ToUnixNanos(session.closed->at));
    }
    text += "\n";
  }
  for (const CoordinatorRan& run : *runs) {
    absl::StrAppend(&text, "ran ", absl::ToUnixNanos(run.began), " ", absl::ToUnixNanos(run.until), "\n");
  }
  return absl::StrCat(text, "last job ", ToString(contents->last_job), "\n");
}

// One of everything.
inline std::vector<Fact> VariedFacts() {
  return {Job(1),
          Job(2),
          Job(3),
          JobSettings{JobId{2}, true, 7, 2.5, At(40)},
          Opened(1, 0, 100),
          Opened(2, 0, 50),
          Slice(1, 0, {0, 10}, "a"),
          Slice(1, 0, {20, 30}, "b"),
          Slice(1, 0, {10, 20}, "c"),
          Slice(2, 0, {0, 50}, ""),
          SliceRetracted{{JobId{1}, 0}, {20, 30}, "another worker found otherwise", At(50)},
          Slice(1, 0, {22, 28}, "d"),
          Verified(1, 0, {22, 28}, "d"),
          Verified(1, 0, {0, 10}, "a", 3),
          Opened(2, 1, 60),
          Ended(2),
          JobDeleted{JobId{3}},
          WorkerSeen{WorkerId{~uint64_t{0}}, "installation 1", "laptop", At(60)},
          WorkerSeen{WorkerId{2}, "installation 2", "lab", At(61)},
          WorkerSeen{WorkerId{2}, "installation 2", "lab-7", At(62)},
          WorkerDescribed{WorkerId{2}, "lab", "0.1", "Linux x86_64", "cpu/avx2/x86-64", At(61)},
          WorkerDescribed{WorkerId{2}, "lab-7", "0.2", "Linux x86_64", "cpu/avx2/x86-64", At(62)},
          WorkerQuarantined{WorkerId{2}, "it was found wrong", At(63)},
          WorkerQuarantined{WorkerId{3}, "it was found wrong", At(64)},
          WorkerPardoned{WorkerId{3}, At(65)},
          TokenCreated{TokenId{1}, Sha256("x"), "ada", Role::kAdmin, At(70)},
          TokenCreated{TokenId{2}, Sha256("y"), "bob", Role::kWorker, At(71), At(5000)},
          TokenRevoked{TokenId{2}, At(72)},
          BlobNamed{JobId{1}, Sha256("blob")},
          Saved(1, 0, "a"),
          Saved(1, 7, "b"),
          Saved(1, 9, "c"),
          Came(1, 2, At(80)),
          SessionClosed{1, SessionEnd::kDrained, At(90)},
          Came(2, ~uint64_t{0}, At(85), absl::InfinitePast()),
          CoordinatorRan{At(79), At(81)},
          CoordinatorRan{At(79), At(95)}};
}

}  // namespace potluck
