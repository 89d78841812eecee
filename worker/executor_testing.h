// What the executor's tests share: its events written down, and a fixture around the misbehaving child.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "worker/child_process.h"
#include "worker/executor.h"

namespace potluck {

inline constexpr absl::Duration kPatience = absl::Seconds(60);
inline constexpr RoundKey kRound{JobId{1}, 0};
inline constexpr RoundKey kOtherRound{JobId{1}, 1};
inline constexpr LeaseId kLease{1, 1};
inline constexpr LeaseId kNextLease{1, 2};

// Writes down every event as a line, in order, and lets the test wait for one.
class Recorder : public ExecutorEvents {
 public:
  void OnReady(const ExecutorReady& ready) override {
    Add(absl::StrCat("ready", ready.self_test.ok() ? "" : ": ", absl::string_view(ready.self_test.message())),
        ready.pid);
  }
  void OnSlice(LeaseId lease, Interval interval, std::string payload, double busy_seconds) override {
    if (!(busy_seconds >= 0)) Add("negative seconds");
    Add(absl::StrCat("slice ", ToString(lease), " ", ToString(interval), " ", payload));
  }
  void OnLargeSlice(LeaseId lease, Interval interval, std::shared_ptr<const ResultFile> payload,
                    double busy_seconds) override {
    if (!(busy_seconds >= 0)) Add("negative seconds");
    std::string bytes;
    EXPECT_EQ(payload->Read(0, payload->size(), bytes), absl::OkStatus());
    Add(absl::StrCat("large slice ", ToString(lease), " ", ToString(interval), " ", bytes.size(), " bytes ",
                     bytes.substr(0, bytes.find('#'))));
  }
  void OnNeed(LeaseId lease, const std::string& digest) override {
    Add(absl::StrCat("need ", ToString(lease), " ", digest.substr(0, 1)));
  }
  void OnNeedSoon(LeaseId lease, std::vector<std::string> digests) override {
    std::string names;
    for (const std::string& digest : digests) names += digest.substr(0, 1);
    Add(absl::StrCat("need soon ", ToString(lease), " ", names));
  }
  void OnRunOver(LeaseId lease, const absl::Status& status) override {
    Add(absl::StrCat("over ", ToString(lease), " ", absl::StatusCodeToString(status.code()), status.ok() ? "" : ": ",
                     status.message()));
  }
  void OnShrunk(LeaseId lease, uint64_t asked, uint64_t end) override {
    Add(absl::StrCat("shrunk ", ToString(lease), " ", asked, " ", end));
  }
  void OnDied(const absl::Status& status, absl::Duration) override { Add(absl::StrCat("died: ", status.message())); }

  // Waits for an event that starts so, after those already waited for, and returns it; "" when it does not come.
  std::string WaitFor(const std::string& start) {
    const absl::Time deadline = AwakeNow() + kPatience;
    MutexLock lock(&mutex_);
    while (true) {
      for (; seen_ < events_.size(); ++seen_) {
        if (events_[seen_].rfind(start, 0) == 0) return events_[seen_++];
      }
      if (!added_.WaitFor(&mutex_, deadline - AwakeNow()) && AwakeNow() >= deadline) {
        ADD_FAILURE() << "No event \"" << start << "\".";
        return "";
      }
    }
  }

  std::vector<std::string> Starting(const std::string& start) {
    MutexLock lock(&mutex_);
    std::vector<std::string> found;
    for (const std::string& event : events_) {
      if (event.rfind(start, 0) == 0) found.push_back(event);
    }
    return found;
  }

  std::vector<std::string> events() {
    MutexLock lock(&mutex_);
    return events_;
  }

  pid_t pid() {
    MutexLock lock(&mutex_);
    return pid_;
  }

 private:
  void Add(std::string event, pid_t pid = 0) {
    MutexLock lock(&mutex_);
    if (pid != 0) pid_ = pid;
    events_.push_back(std::move(event));
    added_.SignalAll();
  }

  Mutex mutex_;
  CondVar added_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  size_t seen_ ABSL_GUARDED_BY(mutex_) = 0;
  pid_t pid_ ABSL_GUARDED_BY(mutex_) = 0;
};

inline ExecutorOptions Options(const std::string& mode = "fake") {
  ExecutorOptions options;
  options.program = POTLUCK_EXECUTOR_TEST_CHILD;
  options.device.dispatch = mode;
  options.back_off = [](int) { return absl::ZeroDuration(); };
  return options;
}

// Of a child that does not notice the end of its input: Stop need not wait for it.
inline ExecutorOptions HangingOptions(const std::string& mode) {
  ExecutorOptions options = Options(mode);
  options.stop_limit = absl::ZeroDuration();
  return options;
}

class ExecutorTest : public ::testing::Test {
 protected:
  void Start(ExecutorOptions options) {
    absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(std::move(options), events_);
    ASSERT_TRUE(executor.ok()) << executor.status();
    executor_ = *std::move(executor);
  }
  void Run(LeaseId lease, const std::string& payload, Interval interval, RoundKey round = kRound,
           const std::string& implementation = "") {
    executor_->Run(lease, {round, "fake", payload, {}, bulk_}, interval, implementation);
  }
  // That a good run works now.
  void ExpectWorks() {
    Run({9, 9}, "good", {5, 6}, kOtherRound);
    EXPECT_EQ(events_.WaitFor("slice 9.9"), "slice 9.9 [5, 6) good/5");
    EXPECT_EQ(events_.WaitFor("over 9.9"), "over 9.9 OK");
  }
  static bool IsGone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

  Recorder events_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::string> bulk_;  // Of the rounds of all runs.
};

}  // namespace potluck
