// What the tests of whole workers share: workers with the tests' own executor, in threads, in a folder of their own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/notification.h"
#include "proto/join_string.h"
#include "worker/worker.h"

namespace potluck {

// The destructor stops them and checks that nothing is left behind, however they ended.
class RunningWorkers {
 public:
  RunningWorkers() {
    std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    directory_ = pattern;
  }
  ~RunningWorkers() {
    Stop();
    EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/scratch"));
    std::filesystem::remove_all(directory_);
  }

  // `shared`: a folder that the coordinator shares; empty: none.
  void Start(const std::string& name, const JoinString& join, const std::string& shared = "") {
    WorkerOptions options;
    options.join = join;
    options.name = options.installation = name;
    options.device = "cpu";
    options.dispatch = "scalar";
    options.threads = 1;
    options.cache = directory_;
    options.shared = shared;
    options.program = POTLUCK_EXECUTOR_TEST_CHILD;
    options.progress_interval = progress_interval;
    options.say = [this](const std::string& sentence) {
      MutexLock lock(&mutex_);
      said_.push_back(sentence);
    };
    absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Create(std::move(options));
    ASSERT_TRUE(worker.ok()) << worker.status();
    Running& running = workers_.emplace_back();
    running.worker = *std::move(worker);
    running.thread = std::thread([&running] {
      std::string message;
      running.end = running.worker->Run(message);
      running.ended.Notify();
    });
  }
  void Stop() {
    for (Running& one : workers_) one.worker->StopNow();
    for (Running& one : workers_) one.thread.join();
    workers_.clear();
  }
  const std::string& directory() const { return directory_; }
  // Of workers that start from now on.
  absl::Duration progress_interval = absl::InfiniteDuration();
  Worker& first() { return *workers_.front().worker; }
  // How the first one ended; nullopt if it has not within that time.
  std::optional<WorkerEnd> WaitForEnd(absl::Duration timeout) {
    if (!workers_.front().ended.WaitForNotificationWithTimeout(timeout)) return std::nullopt;
    return workers_.front().end;
  }
  std::vector<std::string> said() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return said_;
  }

 private:
  struct Running {
    std::unique_ptr<Worker> worker;
    std::thread thread;
    WorkerEnd end{};
    Notification ended;
  };

  std::string directory_;
  std::deque<Running> workers_;  // References stay valid.
  mutable Mutex mutex_;
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
