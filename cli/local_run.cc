#include "cli/local_run.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands.h"
#include "worker/devices.h"
#include "worker/frames.h"
#include "worker/gpu_lock.h"

namespace potluck {

namespace {

constexpr char kMemory[] = "/dev/shm";
// What is smaller is part of messages.
constexpr uint64_t kLeastShared = kMaxInlineSliceBytes;

// A folder of this user alone, and not one that somebody else made.
bool IsPrivate(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
         (found.st_mode & 077) == 0;
}

// What processes may still take, without others being written to a disk; as much as there can be if nobody knows.
uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    uint64_t kibibytes = 0;
    absl::string_view text = line;
    if (absl::ConsumePrefix(&text, "MemAvailable:") && absl::ConsumeSuffix(&text, "kB") &&
        absl::SimpleAtoi(text, &kibibytes)) {
      return kibibytes << 10;
    }
  }
  return std::numeric_limits<uint64_t>::max();
}

// In memory, if that has room for what so many slots and the coordinator have there at most, with as much to spare.
Scratch MakeShared(uint64_t result_bytes, size_t slots) {
  const std::string parent = absl::StrCat(kMemory, "/potluck-", geteuid());
  if (result_bytes >= kLeastShared) mkdir(parent.c_str(), 0700);
  if (!IsPrivate(parent)) return Scratch();
  Scratch::RemoveOrphans(parent);  // First: what a killed run left behind may be what takes the room.
  if (result_bytes < kLeastShared) return Scratch();
  // Of each slot one that is computed, one on its way and those waiting (worker/lease_book.h); of rounds the open one
  // and the last.
  const uint64_t needed = 2 * result_bytes * (4 * slots + 4);
  struct statvfs memory {};
  if (statvfs(kMemory, &memory) != 0) return Scratch();
  if (std::min<uint64_t>(memory.f_bavail * memory.f_frsize, AvailableMemory()) < needed) return Scratch();
  absl::StatusOr<Scratch> scratch = Scratch::Create(parent);
  return scratch.ok() ? *std::move(scratch) : Scratch();
}

// Nobody should be on the CPU without knowing. The locks are let go at once: each worker takes its own.
void LeaveOutGpusInUse(FoundDevices& found, ProgressDisplay& display) {
  const std::string before = std::exchange(found.gpu_note, "");
  const absl::StatusOr<std::vector<GpuLock>> free = TakeGpus("auto", found);
  if (free.ok() && !found.gpu_note.empty()) display.Say(found.gpu_note);
  found.gpu_note = before;
}

}  // namespace

void LocalRunFlags::Declare(Arguments& arguments) {
  arguments.Flag("--local-workers", "K", WholeNumber(&local_workers, 1, 256), "workers on this machine",
                 "one a device");
  arguments.Flag("--threads", "T", WholeNumber(&threads, 1, 1024), "CPU threads of each local worker",
                 "the cores divided among them");
  arguments.Flag("--dispatch", "D", DispatchName(&dispatch), "CPU code path of the local workers", "auto");
  arguments.Flag("--coordinator", "X", JoinStringText(&coordinator),
                 "submit the job there instead of running it on this machine",
                 "the environment's POTLUCK_COORDINATOR; without that, and with --local-workers, this machine");
  arguments.Switch("--verbose", &verbose, "what the coordinator and the local workers have to say");
  arguments.InternalFlag("--slice-seconds", "S", RealNumber(&slice_seconds, 0.01, 600),
                         "how long a local worker computes between two results, seconds", "0.5");
}

void LocalRunFlags::ReadEnvironment() {
  if (!coordinator.empty() || local_workers) return;
  if (const char* variable = std::getenv("POTLUCK_COORDINATOR"); variable != nullptr) coordinator = variable;
}

absl::Status LocalRunFlags::Check() const {
  if (embedded()) return absl::OkStatus();
  const char* local = local_workers       ? "--local-workers"
                      : threads           ? "--threads"
                      : !dispatch.empty() ? "--dispatch"
                                          : nullptr;
  if (local == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      local, " is about workers on this machine; allowed is either it or --coordinator (or the environment's "
             "POTLUCK_COORDINATOR), whose workers are its own"));
}

absl::StatusOr<std::unique_ptr<LocalRun>> LocalRun::Start(const LocalRunFlags& flags,
                                                          const std::string& state_directory, uint64_t result_bytes,
                                                          size_t least_workers, const std::string& why,
                                                          Interrupt& interrupt, ProgressDisplay& display) {
  absl::StatusOr<FoundDevices> found = FindDevices({});
  if (!found.ok()) return found.status();
  if (flags.verbose && !found->gpu_note.empty()) display.Say(found->gpu_note);
  LeaveOutGpusInUse(*found, display);
  std::vector<int> gpus;
  for (const DeviceSpec& device : found->devices) {
    if (device.kind == "cuda") gpus.push_back(device.index);
  }
  const std::vector<LocalWorkerPlan> plan = PlanLocalWorkers(flags.local_workers, flags.threads, gpus, UsableThreads());
  if (plan.size() < least_workers) {
    return absl::InvalidArgumentError(
        absl::StrCat("--local-workers is ", plan.size(), "; allowed is at least ", least_workers, ": ", why));
  }
  std::unique_ptr<LocalRun> run(new LocalRun);
  run->shared_ = MakeShared(result_bytes, plan.size() == 1 ? found->devices.size() : plan.size());
  CoordinatorOptions options;
  options.shared_folder = run->shared_.path();
  options.state_directory = state_directory;
  options.core.save_interval = absl::Seconds(flags.save_seconds);
  if (flags.verbose) options.log = [&display](const std::string& sentence) { display.Say(sentence); };
  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Start(std::move(options));
  if (!coordinator.ok()) return coordinator.status();
  run->coordinator_ = *std::move(coordinator);

  LocalWorkersOptions workers;
  workers.join_string = run->coordinator_->worker_join_string();
  workers.workers = plan;
  if (!flags.dispatch.empty()) workers.dispatch = flags.dispatch;
  workers.shared = run->shared_.path();
  workers.slice_seconds = flags.slice_seconds;
  workers.verbose = flags.verbose;
  workers.say = [&display](const std::string& sentence) { display.Say(sentence); };
  workers.give_up = [&interrupt](absl::Status reason) { interrupt.Raise(std::move(reason)); };
  const size_t expected = workers.workers.size();
  run->workers_ = std::make_unique<LocalWorkers>(std::move(workers));
  // The job begins when all are at the table; whoever does not come up (they say why) is not waited for long.
  run->coordinator_->WaitForWorkers(expected, absl::Seconds(3));
  return run;
}

}  // namespace potluck
