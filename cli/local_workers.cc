#include "cli/local_workers.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

extern char** environ;

namespace potluck {
namespace {

constexpr char kGpuVariable[] = "CUDA_VISIBLE_DEVICES";
constexpr absl::Duration kLookInterval = absl::Milliseconds(200);
constexpr absl::Duration kQuickEnd = absl::Seconds(10);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(5);
constexpr int kMostQuickEnds = 5;
constexpr absl::Duration kDrainTime = absl::Seconds(1);
constexpr size_t kLongestLine = 4096;

// The `index`-th of the GPUs that this process may use, as the driver wants it named.
std::string GpuName(int index) {
  const char* visible = std::getenv(kGpuVariable);
  if (visible == nullptr) return absl::StrCat(index);
  const std::vector<std::string> names = absl::StrSplit(visible, ',');
  return static_cast<size_t>(index) < names.size() ? names[static_cast<size_t>(index)] : absl::StrCat(index);
}

bool Sets(const std::string& entry, const char* variable) {
  return absl::StartsWith(entry, absl::StrCat(variable, "="));
}

std::vector<std::string> Environment(const std::string& join_string, std::optional<int> gpu) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (Sets(text, kJoinVariable) || Sets(text, kParentVariable) || (gpu && Sets(text, kGpuVariable))) continue;
    environment.push_back(text);
  }
  environment.push_back(absl::StrCat(kJoinVariable, "=", join_string));
  environment.push_back(absl::StrCat(kParentVariable, "=", getpid()));
  if (gpu) environment.push_back(absl::StrCat(kGpuVariable, "=", GpuName(*gpu)));
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string EndText(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return absl::StrCat("ended with code ", WEXITSTATUS(wait_status));
  return absl::StrCat("was ended by signal ", WTERMSIG(wait_status), " (", strsignal(WTERMSIG(wait_status)), ")");
}

}  // namespace

std::vector<LocalWorkerPlan> PlanLocalWorkers(std::optional<int> count, std::optional<int> threads,
                                              const std::vector<int>& gpus, int cores) {
  const size_t workers = count ? static_cast<size_t>(*count) : std::max<size_t>(1, gpus.size());
  std::vector<LocalWorkerPlan> plans(workers);
  if (workers == 1) {
    plans[0].device = gpus.empty() ? "cpu" : "auto";
  } else {
    for (size_t i = 0; i < std::min(workers, gpus.size()); ++i) plans[i] = {.device = "cuda", .gpu = gpus[i]};
  }
  const auto on_cpu = std::count_if(plans.begin(), plans.end(), [](const LocalWorkerPlan& plan) { return !plan.gpu; });
  const int share = std::max(1, cores / static_cast<int>(std::max<ptrdiff_t>(1, on_cpu)));
  for (LocalWorkerPlan& plan : plans) plan.threads = threads.value_or(share);
  return plans;
}

LocalWorkers::LocalWorkers(LocalWorkersOptions options)
    : options_(std::move(options)), processes_(options_.workers.size()), stop_(eventfd(0, EFD_CLOEXEC)) {
  for (size_t i = 0; i < processes_.size(); ++i) processes_[i].name = absl::StrCat("local-", i + 1);
  thread_ = std::thread(&LocalWorkers::Run, this);
}

LocalWorkers::~LocalWorkers() {
  const uint64_t one = 1;
  // Cannot fail: the counter is 0.
  [[maybe_unused]] const ssize_t written = write(stop_, &one, sizeof(one));
  thread_.join();
  close(stop_);
}

void LocalWorkers::Run() {
  pollfd stop = {stop_, POLLIN, 0};
  while (poll(&stop, 1, 0) <= 0) {
    for (size_t i = 0; i < processes_.size(); ++i) Look(i);
    Wait();
  }
  StopAll();
}

void LocalWorkers::Wait() {
  std::vector<pollfd> files = {{stop_, POLLIN, 0}};
  absl::Duration wait = kLookInterval;
  for (const Process& process : processes_) {
    if (process.output >= 0) files.push_back({process.output, POLLIN, 0});
    if (process.pid < 0 && !process.given_up) wait = std::min(wait, process.start_at - absl::Now());
  }
  poll(files.data(), files.size(), static_cast<int>(std::max<int64_t>(1, absl::ToInt64Milliseconds(wait))));
}

absl::Status LocalWorkers::Spawn(size_t index) {
  Process& process = processes_[index];
  const LocalWorkerPlan& plan = options_.workers[index];
  process.started = absl::Now();
  process.partial_line.clear();
  process.last_line.clear();
  std::vector<std::string> arguments = {"potluck",         "join",
                                        "--name",          process.name,
                                        "--installation",  process.name,
                                        "--device",        plan.device,
                                        "--threads",       absl::StrCat(plan.threads),
                                        "--dispatch",      options_.dispatch,
                                        "--slice-seconds", absl::StrCat(options_.slice_seconds)};
  if (!options_.cache.empty()) arguments.insert(arguments.end(), {"--cache", options_.cache});
  if (!options_.shared.empty()) arguments.insert(arguments.end(), {"--shared", options_.shared});
  std::vector<std::string> environment = Environment(options_.join_string, plan.gpu);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "no pipe for a local worker");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // Nothing but the result may stand on standard output.
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  const int error = posix_spawn(&process.pid, options_.program.c_str(), &actions, &attributes,
                                Pointers(arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    process.pid = -1;
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", options_.program));
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  process.output = ends[0];
  return absl::OkStatus();
}

void LocalWorkers::ReadOutput(Process& process) {
  if (process.output < 0) return;
  char buffer[4096];
  ssize_t size = 0;
  while ((size = read(process.output, buffer, sizeof(buffer))) > 0) {
    process.partial_line.append(buffer, static_cast<size_t>(size));
    for (size_t end = 0; (end = process.partial_line.find('\n')) != std::string::npos;) {
      process.last_line = std::string(absl::StripPrefix(process.partial_line.substr(0, end), "potluck: "));
      process.partial_line.erase(0, end + 1);
      if (options_.verbose) options_.say(absl::StrCat(process.name, ": ", process.last_line));
    }
    if (process.partial_line.size() > kLongestLine) process.partial_line.clear();
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  close(process.output);
  process.output = -1;
}

void LocalWorkers::Look(size_t index) {
  Process& process = processes_[index];
  if (process.given_up) return;
  ReadOutput(process);
  if (process.pid >= 0) {
    int wait_status = 0;
    if (waitpid(process.pid, &wait_status, WNOHANG) == process.pid) Ended(index, wait_status);
    return;
  }
  if (absl::Now() < process.start_at) return;
  if (absl::Status status = Spawn(index); !status.ok()) {
    process.last_line = std::string(status.message());
    Ended(index, 0);
  }
}

void LocalWorkers::Ended(size_t index, int wait_status) {
  Process& process = processes_[index];
  ReadOutput(process);
  if (process.output >= 0) close(process.output);  // A grandchild may hold the other end.
  process.output = -1;
  process.pid = -1;
  const absl::Time now = absl::Now();
  // Killed by hand, or for want of memory: that can pass. What ends by itself each time never comes up.
  const bool killed = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
  const bool quick = now - process.started < kQuickEnd;
  if (!killed) process.quick_ends = quick ? process.quick_ends + 1 : 1;
  const int doublings = std::min(killed ? 3 * (quick ? 1 : 0) : process.quick_ends - 1, 6);
  process.start_at = now + std::min(kLongestPause, kFirstPause * (1 << doublings));
  // Last words count only of one that ended by itself.
  const std::string reason = killed || process.last_line.empty()
                                 ? EndText(wait_status)
                                 : absl::StrCat(EndText(wait_status), ": ", process.last_line);
  if (killed || process.quick_ends < kMostQuickEnds) {
    options_.say(absl::StrCat(process.name, " ", reason, "; it is started again"));
    return;
  }
  process.given_up = true;
  options_.say(
      absl::StrCat(process.name, " ended ", process.quick_ends, " times soon after its start and is given up"));
  const bool any_left = std::any_of(processes_.begin(), processes_.end(), [](const Process& p) { return !p.given_up; });
  if (!any_left) {
    options_.give_up(absl::FailedPreconditionError(
        absl::StrCat("no local worker can be kept running: ", process.name, " ", reason)));
  }
}

void LocalWorkers::StopAll() {
  for (const Process& process : processes_) {
    if (process.pid >= 0) kill(process.pid, SIGTERM);
  }
  const absl::Time end = absl::Now() + kDrainTime;
  for (Process& process : processes_) {
    while (process.pid >= 0) {
      ReadOutput(process);  // A full pipe must not keep it from ending.
      if (waitpid(process.pid, nullptr, WNOHANG) != 0) {
        process.pid = -1;
      } else if (absl::Now() >= end) {
        kill(process.pid, SIGKILL);
        waitpid(process.pid, nullptr, 0);
        process.pid = -1;
      } else {
        absl::SleepFor(absl::Milliseconds(5));
      }
    }
    if (process.output >= 0) close(process.output);
  }
}

}  // namespace potluck
