// `potluck doctor`: what is wrong here, or on the way to a coordinator, and what to do about it.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/doctor_local.h"
#include "cli/doctor_report.h"
#include "cli/doctor_way.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/plugin_build.h"
#include "proto/join_string.h"

namespace potluck {
namespace {

struct DoctorFlags {
  std::string join;
  bool json = false;
  bool build_plugin = false;
  PluginBuildOptions plugin;
  WayOptions way;
};

std::optional<int> ReadFlags(const Args& args, DoctorFlags& flags) {
  Arguments arguments(
      "doctor",
      "Looks at this machine and, with a join string, at the way to its coordinator step by step: each line\n"
      "is ok, warn, fail or skip, with what to do below it. It joins nothing.");
  arguments.OptionalPositional("JOIN",
                               {"a join string, a file that holds one, or - for standard input; without it the "
                                "environment's POTLUCK_JOIN",
                                Text(&flags.join).read},
                               "the coordinator");
  arguments.Switch("--long", &flags.way.is_long, "also stay silent for 90 s and see whether the connection lives");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  arguments.Switch("--build-plugin", &flags.build_plugin,
                   "build the GPU plug-in here, by nvcc or NVRTC and a C++ compiler, instead of looking");
  arguments.Flag("--architectures", "LIST", Text(&flags.plugin.architectures),
                 "with --build-plugin: for which GPUs, as in 75,80 (sm_75 and sm_80)", "those found here");
  arguments.Flag("--compiler", "C", OneOf(&flags.plugin.compiler, {"auto", "nvcc", "nvrtc"}),
                 "with --build-plugin: what compiles GPU code", "auto: whichever is here and fits the driver");
  arguments.InternalFlag("--silence", "TIME", TimeSpan(&flags.way.silence), "how long --long stays silent", "90s");
  arguments.InternalFlag("--step-limit", "TIME", TimeSpan(&flags.way.step_limit), "what each step of the way may take",
                         "8s");
  arguments.Epilogue(
      "Exit codes: 0 nothing failed; 3 the coordinator cannot be reached; 4 no version in common with it; 5 it\n"
      "refuses the token or has another key; 1 anything else.");
  if (const std::optional<int> code = arguments.Read(args)) return code;
  if (!flags.plugin.architectures.empty() && !flags.build_plugin) {
    return FailUsage(absl::InvalidArgumentError("--architectures is given without --build-plugin, which it is for"));
  }
  if (flags.build_plugin && !flags.join.empty()) {
    return FailUsage(absl::InvalidArgumentError("JOIN is given together with --build-plugin; allowed is either"));
  }
  return std::nullopt;
}

void Say(const std::string& sentence) { std::fprintf(stderr, "potluck: %s\n", Printable(sentence).c_str()); }

// The join string that was given, by argument or environment; nullopt if none was.
std::optional<absl::StatusOr<JoinString>> GivenJoin(const std::string& argument) {
  const char* variable = std::getenv("POTLUCK_JOIN");
  const std::string value = !argument.empty() ? argument : variable == nullptr ? "" : variable;
  unsetenv("POTLUCK_JOIN");  // Child processes need not know it.
  if (value.empty()) return std::nullopt;
  return LoadJoinString(value);
}

void WayChecks(const std::optional<absl::StatusOr<JoinString>>& join, const WayOptions& options, DoctorReport& report) {
  if (!join) {
    report.Add(SkipRow("coordinator", "no join string was given: the way to a coordinator was not looked at"));
    return;
  }
  report.Add(CheckJoinString(*join));
  if (!join->ok()) return;
  std::vector<std::vector<CheckRow>> ways;
  for (size_t i = 0; i < (*join)->addresses.size(); ++i) ways.push_back(CheckWay(**join, i, options));
  report.AddWays(std::move(ways));
}

int BuildPlugin(const DoctorFlags& flags) {
  const absl::StatusOr<BuiltPlugin> built = BuildGpuPlugin(flags.plugin);
  if (!built.ok()) return FailLocally(built.status());
  if (flags.json) {
    PrintJson({{"plugin", built->path},
               {"compiler", built->compiler},
               {"architectures", built->architectures},
               {"seconds", built->seconds},
               {"size", built->size}});
  } else {
    std::printf("%s\n", built->Text().c_str());
  }
  return kExitOk;
}

}  // namespace

int RunDoctor(const Args& args) {
  DoctorFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  signal(SIGPIPE, SIG_IGN);  // Whoever hangs up is to be told of, not to end this.
  const std::optional<absl::StatusOr<JoinString>> join = GivenJoin(flags.join);
  flags.way.say = Say;
  flags.plugin.say = Say;
  if (flags.build_plugin) return BuildPlugin(flags);
  DoctorReport report([&flags](const CheckRow& row) {
    if (flags.json) return;
    std::fputs(RowText(row).c_str(), stdout);
    std::fflush(stdout);
  });
  LocalChecks(report);
  WayChecks(join, flags.way, report);
  if (flags.json) {
    PrintJson(report.Json());
  } else {
    std::printf("\n%s\n", report.Summary().c_str());
  }
  return report.ExitCode();
}

}  // namespace potluck
