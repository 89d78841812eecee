// `potluck join`: a worker in the foreground.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/local_workers.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "proto/join_string.h"
#include "worker/installation.h"
#include "worker/platform.h"
#include "worker/single_worker.h"
#include "worker/worker.h"

namespace potluck {
namespace {

// What concerns this machine rather than the worker.
struct PlaceFlags {
  bool single = false;
  bool confirm_rules = false;
};

std::optional<int> ReadFlags(const Args& args, std::string& join, WorkerOptions& options, PlaceFlags& place) {
  Arguments arguments(
      "join",
      "Works for a coordinator until it is stopped. Ctrl-C or SIGTERM once: finishes or hands back what "
      "it computes,\nthen leaves; twice: stops at once.");
  arguments.OptionalPositional("X",
                               {"a join string, a file that holds one, or - for standard input; without it the "
                                "environment's POTLUCK_JOIN",
                                Text(&join).read},
                               "the coordinator");
  arguments.Flag("--name", "N", {"1 to 64 characters", Text(&options.name).read}, "the worker's name, for people",
                 "the host's name");
  arguments.Flag("--threads", "T", WholeNumber(&options.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Flag("--device", "D", OneOf(&options.device, {"auto", "cpu", "cuda"}), "what to compute on",
                 "auto: everything there is");
  arguments.Flag("--dispatch", "D", DispatchName(&options.dispatch), "CPU code path", "auto");
  arguments.Switch("--when-idle", &options.when_idle, "yield to everything else on this machine");
  arguments.Switch("--metered", &options.metered, "few and small messages: one about every 120 s");
  arguments.Flag("--ends-in", "TIME", TimeSpan(&options.ends_in), "when this session is known to end",
                 "what is known of the platform");
  arguments.Flag("--cache", "DIR", Text(&options.cache), "where data sets are kept between jobs",
                 "potluck in the user's cache directory");
  double cache_gib = 4;
  arguments.Flag("--cache-size", "GIB", RealNumber(&cache_gib, 0.01, 1e6), "how much of them is kept, GiB", "4");
  std::optional<int> idle_seconds;
  arguments.Flag("--exit-when-idle", "SECONDS", WholeNumber(&idle_seconds, 1, 31536000),
                 "leave after so many seconds without work", "never");
  arguments.Switch("--single", &place.single,
                   "take the place of the worker that this user has started here with this flag before: it is asked to "
                   "leave, and killed if it has not after 10 s");
  arguments.Switch("--confirm-platform-rules", &place.confirm_rules,
                   "you have read this platform's rules and may run a worker here; needed where they restrict it");
  arguments.InternalFlag("--installation", "ID", Text(&options.installation),
                         "what the coordinator knows this installation by", "one made at the first join and kept");
  arguments.InternalFlag("--shared", "DIR", Text(&options.shared), "a folder that the coordinator reads too", "none");
  arguments.InternalFlag("--slice-seconds", "S", RealNumber(&options.slice_seconds, 0.01, 600),
                         "how long it computes between two results, seconds", "2");
  const std::optional<int> code = arguments.Read(args);
  options.cache_bytes = static_cast<uint64_t>(cache_gib * (uint64_t{1} << 30));
  if (idle_seconds) options.exit_when_idle = absl::Seconds(*idle_seconds);
  return code;
}

absl::StatusOr<JoinString> LoadJoin(const std::string& argument) {
  if (!argument.empty()) return LoadJoinString(argument);
  const char* variable = std::getenv(kJoinVariable);
  if (variable == nullptr || *variable == '\0') {
    return absl::InvalidArgumentError(
        "X is missing; allowed is a join string, the name of a file that holds one, or - for standard input (the "
        "environment's POTLUCK_JOIN serves as well)");
  }
  absl::StatusOr<JoinString> join = LoadJoinString(variable);
  unsetenv(kJoinVariable);  // Child processes need not know it.
  return join;
}

// Started by a command on this machine for itself; see cli/local_workers.h.
bool IsLocalWorker() { return std::getenv(kParentVariable) != nullptr; }

// A local worker ends with the command that started it, however that ends. False: it has ended already.
bool TieToParent() {
  const char* variable = std::getenv(kParentVariable);
  int parent = 0;
  const bool is_number = absl::SimpleAtoi(variable, &parent);
  unsetenv(kParentVariable);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return is_number && getppid() == parent;  // It may have gone before the kernel was told.
}

int ExitCode(WorkerEnd end) {
  switch (end) {
    case WorkerEnd::kDrained:
      return kExitOk;
    case WorkerEnd::kStopped:
      return kExitInterrupted;
    case WorkerEnd::kRefused:
      return kExitRefused;
    case WorkerEnd::kOtherVersion:
      return kExitOtherVersion;
    case WorkerEnd::kNoDevice:
      return kExitFailed;
  }
  return kExitFailed;
}

void Say(const std::string& sentence) { std::fprintf(stderr, "potluck: %s\n", Printable(sentence).c_str()); }

// Says what the platform's rule is. PermissionDenied: it restricts workers, and that was not confirmed.
absl::Status CheckRules(const Platform& platform, bool confirmed) {
  if (platform.rule.empty()) return absl::OkStatus();
  std::string rule(absl::StripSuffix(platform.rule, "."));
  if (!platform.source.empty()) absl::StrAppend(&rule, " (", platform.source, ", read in ", platform.dated, ")");
  if (!platform.restricts) {
    Say(absl::StrCat("this is ", platform.title, ": ", rule));
    return absl::OkStatus();
  }
  if (!confirmed) {
    return absl::PermissionDeniedError(absl::StrCat("this is ", platform.title, ": ", rule,
                                                    "; if you have read its rules and may run a worker here, ",
                                                    "one an account, add --confirm-platform-rules"));
  }
  Say(absl::StrCat("this is ", platform.title, ", whose rules you have confirmed: ", rule,
                   "; one worker an account is meant"));
  return absl::OkStatus();
}

}  // namespace

int RunJoin(const Args& args) {
  std::string argument;
  WorkerOptions options;
  PlaceFlags place;
  if (const std::optional<int> code = ReadFlags(args, argument, options, place)) return *code;
  signal(SIGPIPE, SIG_IGN);  // Who read along, a notebook's kernel say, may be gone: that is no reason to drop work.
  const bool is_local = IsLocalWorker();
  if (is_local && !TieToParent()) return kExitInterrupted;
  absl::StatusOr<JoinString> join = LoadJoin(argument);
  if (!join.ok()) return FailUsage(join.status());
  options.join = *std::move(join);
  options.say = Say;
  options.platform_limits = !is_local;
  if (!is_local) options.progress_interval = absl::Minutes(1);
  // A command's own workers are no distributed computing: all of it is on this machine.
  const absl::Status rules = is_local ? absl::OkStatus() : CheckRules(ThisPlatform(), place.confirm_rules);
  if (!rules.ok()) return FailRules(rules);
  // Before signals are blocked: Ctrl-C ends the waiting for the older one.
  std::optional<SingleWorker> single;
  if (place.single) {
    absl::StatusOr<SingleWorker> taken = SingleWorker::Take({.directory = CacheDirectory(), .say = Say});
    if (!taken.ok()) return FailLocally(taken.status());
    single.emplace(*std::move(taken));
    if (options.installation.empty()) options.installation = single->installation();
  }
  BlockSignals();
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Create(std::move(options));
  if (!worker.ok()) return Fail(worker.status());
  std::string message;
  WorkerEnd end = WorkerEnd::kStopped;
  {
    const SignalWatcher watcher([&](int count) {
      if (count > 1) {
        (*worker)->StopNow();
        return;
      }
      Say("leaving once what is being computed is handed in; the same signal again stops at once");
      (*worker)->Drain();
    });
    end = (*worker)->Run(message);
  }
  if (!message.empty()) Say(message);
  return ExitCode(end);
}

}  // namespace potluck
