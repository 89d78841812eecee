// Everything at once, for as long as one likes: jobs one after the other on a bad network, while workers, executors and
// coordinators are killed, stopped and interrupted at random. Every total must be exact.
//
// POTLUCK_SEED replays a run (as far as the operating system lets it), POTLUCK_SOAK_SECONDS makes it longer.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/end_to_end/forwarder.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

constexpr int kN = 16;
constexpr size_t kWorkers = 3;
constexpr int kLeaseSeconds = 2;

uint64_t Variable(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

class Soak {
 public:
  explicit Soak(uint64_t seed)
      : random_(seed),
        forwarder_(table_.port(), {.seed = seed, .fewest_bytes = 6000, .most_bytes = 40000, .refused = 0.1}) {}

  void Run(absl::Duration time) {
    const absl::Time end = MonotonicNow() + time;
    ASSERT_TRUE(table_.Serve(kLeaseSeconds, forwarder_.port()));
    for (size_t i = 0; i < kWorkers; ++i) workers_.push_back(&Join());
    uint64_t job = 0;
    while (MonotonicNow() < end && !testing::Test::HasFailure()) OneJob(++job);
    std::cout << job << " jobs, " << faults_ << " faults, " << forwarder_.dropped() << " connections dropped, "
              << forwarder_.refused() << " refused\n";
    EXPECT_GE(faults_, static_cast<int>(job));
  }

 private:
  Process& Join() { return table_.Join(absl::StrCat("worker-", ++joined_), 0.05); }

  void OneJob(uint64_t job) {
    Process& client = table_.Count(kN, job);
    double done = 0;
    while (!client.has_ended() && !testing::Test::HasFailure()) {
      done += std::uniform_real_distribution<double>(0.05, 0.25)(random_);
      if (!Await(job, done)) break;
      Fault();
    }
    stopped_.clear();
    table_.ExpectExact(client, kN, job);
  }

  // Waits for the job to get so far; a stopped executor may keep it from that. False when the job has ended.
  bool Await(uint64_t job, double done) {
    const absl::Time resume_by = MonotonicNow() + absl::Seconds(4);
    bool is_running = true;
    WaitUntil(absl::StrCat("job ", job, " gets on"), [&] {
      if (MonotonicNow() > resume_by) stopped_.clear();
      const absl::StatusOr<v1::JobStatus> status = table_.Job(job);
      if (!status.ok()) return false;
      is_running = status->state() == v1::JobStatus::RUNNING;
      return !is_running || (status->cost() > 0 && status->committed_cost() >= done * status->cost());
    });
    return is_running;
  }

  void Fault() {
    ++faults_;
    Process*& worker = workers_[random_() % workers_.size()];
    if (worker->has_ended()) worker = &Join();
    switch (random_() % 7) {
      case 0:
        table_.coordinator().Kill();
        ASSERT_TRUE(table_.Serve(kLeaseSeconds, forwarder_.port()));
        break;
      case 1:
        ASSERT_TRUE(table_.coordinator().Signal(SIGTERM));
        ASSERT_EQ(table_.coordinator().WaitForExit(kPatience), Exit{});
        ASSERT_TRUE(table_.Serve(kLeaseSeconds, forwarder_.port()));
        break;
      case 2:
        worker->Kill();
        worker = &Join();
        break;
      case 3:
        worker->Signal(SIGINT);  // Leaves in its own time.
        worker = &Join();
        break;
      case 4:
        for (const pid_t executor : ChildrenOf(worker->pid(), "executor")) SignalStranger(executor, SIGKILL);
        break;
      case 5:
        stopped_.push_back(std::make_unique<Stopped>(worker->pid()));
        break;
      default:
        for (const pid_t executor : ChildrenOf(worker->pid(), "executor")) {
          stopped_.push_back(std::make_unique<Stopped>(executor));
        }
    }
  }

  std::mt19937_64 random_;
  Table table_;
  Forwarder forwarder_;
  std::vector<Process*> workers_;
  std::vector<std::unique_ptr<Stopped>> stopped_;
  int joined_ = 0;
  int faults_ = 0;
};

TEST(LongSoakTest, TotalsAreExactUnderAllFaultsAtOnce) {
  const uint64_t seed = Variable("POTLUCK_SEED", std::random_device{}());
  std::cout << "POTLUCK_SEED=" << seed << std::endl;
  Soak(seed).Run(absl::Seconds(static_cast<int64_t>(Variable("POTLUCK_SOAK_SECONDS", 120))));
}

}  // namespace
}  // namespace potluck::end_to_end
