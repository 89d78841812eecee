// `potluck serve`: a coordinator in the foreground.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/logging.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "coordinator/bundle.h"
#include "coordinator/coordinator.h"
#include "proto/join_string.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr size_t kMostAddresses = 16;  // Of a join string.

struct ServeFlags {
  std::string state;
  std::string listen;
  std::string public_addresses;
  bool trust_proxy_ca = false;
  std::string bundle;
  int lease_seconds = 60;
  int retain_days = 30;
  absl::Duration save_every = absl::Seconds(30);
  absl::Duration longest_hold = absl::Seconds(20);
  LogOptions log;
};

// HOST:PORT as a coordinator can listen on it; whether this machine has the address shows later.
bool IsListenAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  const std::string host = text.substr(0, colon);
  int port = 0;
  const bool every = host.empty() || host == "*";
  return WholeNumber(&port, 0, 65535).read(text.substr(colon + 1)) &&
         (every || ValidateAddress(absl::StrCat(host, ":1")).ok());
}

// Whether it names no machine: what listens on every address is reached at some other one.
bool NamesNoMachine(const std::string& address) {
  return absl::StartsWith(address, "0.0.0.0:") || absl::StartsWith(address, "[::]:");
}

std::optional<int> ReadFlags(const Args& args, ServeFlags& flags) {
  Arguments arguments("serve", "Runs a coordinator until it is stopped. Prints the workers' join string first.");
  arguments.RequiredFlag("--state", "DIR", {"a directory, made if there is none", Text(&flags.state).read},
                         "where everything is kept");
  arguments.RequiredFlag("--listen", "HOST:PORT",
                         {"HOST:PORT, an address of this machine (0.0.0.0 or [::] for all) and a port (0: a free one)",
                          [&flags](const std::string& text) {
                            flags.listen = text;
                            return IsListenAddress(text);
                          }},
                         "where to listen");
  arguments.Flag("--public", "HOST:PORT[,...]", {"up to 16 addresses", Text(&flags.public_addresses).read},
                 "under which workers reach it, tried in turn; for join strings", "what it listens on");
  arguments.Switch("--trust-proxy-ca", &flags.trust_proxy_ca,
                   "what stands at --public ends TLS itself: join strings hold no key, workers check its certificate "
                   "by their system's authorities, and whoever runs it can read along");
  arguments.Flag("--bundle", "DIR", {"a folder with one wheel of this version", Text(&flags.bundle).read},
                 "the worker bundle, which notebooks that join download (`potluck notebook`)",
                 "dist/ of the checkout, else this program's folder");
  arguments.Flag("--lease", "SECONDS", WholeNumber(&flags.lease_seconds, 2, 86400),
                 "after so many seconds of silence a worker's units go to others", "60");
  arguments.Flag("--retain", "DAYS", WholeNumber(&flags.retain_days, 1, 36500),
                 "ended jobs are deleted after so many days", "30");
  arguments.InternalFlag("--save-every", "TIME", TimeSpan(&flags.save_every),
                         "the state of a training is saved so often", "30s");
  arguments.InternalFlag("--longest-hold", "TIME", TimeSpan(&flags.longest_hold),
                         "a worker's call that has nothing to say is held so long", "20s");
  arguments.Flag("--log-format", "FORMAT", OneOf(&flags.log.format, {"text", "json"}),
                 "form of the log on standard error", "text");
  arguments.Flag("--log-level", "LEVEL", OneOf(&flags.log.level, {"info", "warning", "error"}),
                 "log only from this level on", "info");
  arguments.Epilogue("DIR/worker.join and DIR/admin.join hold the join strings. Ctrl-C or SIGTERM stops it.\n");
  return arguments.Read(args);
}

// Each of --public; InvalidArgument as it is told.
absl::Status ReadPublicAddresses(const ServeFlags& flags, CoordinatorOptions& options) {
  options.trust_proxy_ca = flags.trust_proxy_ca;
  if (flags.public_addresses.empty()) {
    if (!flags.trust_proxy_ca) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--trust-proxy-ca is given without --public; allowed is it with --public HOST:PORT, the name and port of what "
        "ends TLS");
  }
  options.public_addresses = absl::StrSplit(flags.public_addresses, ',');
  if (options.public_addresses.size() > kMostAddresses) {
    return absl::InvalidArgumentError(absl::StrCat("--public has ", options.public_addresses.size(),
                                                   " addresses; allowed are 1 to ", kMostAddresses));
  }
  for (const std::string& address : options.public_addresses) {
    if (absl::Status status = ValidateAddress(address); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--public ", std::string(status.message())));
    }
  }
  return absl::OkStatus();
}

// Where a bundle is looked for without --bundle: in the checkout, told relative to the program, and beside the program.
std::vector<std::string> BundleDirectories() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  std::vector<std::string> directories;
  if (const std::string checkout = POTLUCK_BUNDLE_DIRECTORY; !checkout.empty()) {
    directories.push_back((program.parent_path() / checkout).lexically_normal().string());
  }
  directories.push_back(program.parent_path().string());
  return directories;
}

// Null: there is none, and `lacks` says why. An error if `named` (--bundle) has none.
absl::StatusOr<std::shared_ptr<const Bundle>> OpenBundle(const std::string& named, std::string& lacks) {
  absl::StatusOr<Bundle> bundle =
      named.empty() ? FindBundle(BundleDirectories(), kVersion) : LoadBundle(named, kVersion);
  if (bundle.ok()) return std::make_shared<const Bundle>(*std::move(bundle));
  if (!named.empty()) return bundle.status();
  lacks = absl::StrCat("there is no worker bundle for notebooks (", std::string(bundle.status().message()),
                       "): deploy/package.sh makes one, --bundle DIR names its folder");
  return nullptr;
}

}  // namespace

int RunServe(const Args& args) {
  ServeFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  CoordinatorOptions options;
  options.state_directory = flags.state;
  options.core.save_interval = flags.save_every;
  options.listen = flags.listen;
  options.core.longest_hold = flags.longest_hold;
  if (absl::Status status = ReadPublicAddresses(flags, options); !status.ok()) return FailUsage(status);
  options.core.scheduler.lease_time = absl::Seconds(flags.lease_seconds);
  options.core.retention = absl::Hours(24) * flags.retain_days;
  BlockSignals();
  const std::shared_ptr<Log> log = Log::Create(flags.log);
  options.log = [log](const std::string& sentence) { log->Info(sentence); };
  std::string lacks_bundle;
  absl::StatusOr<std::shared_ptr<const Bundle>> bundle = OpenBundle(flags.bundle, lacks_bundle);
  if (!bundle.ok()) return FailUsage(bundle.status());
  options.bundle = *std::move(bundle);

  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Start(std::move(options));
  if (!coordinator.ok()) return FailLocally(coordinator.status());
  std::printf("%s\n", (*coordinator)->worker_join_string().c_str());
  FlushOutput().IgnoreError();  // main() tells.
  log->Info(absl::StrCat("listening on port ", (*coordinator)->port(), "; join strings: ", flags.state,
                         "/worker.join for workers, ", flags.state, "/admin.join for commands"));
  if (!lacks_bundle.empty()) log->Info(lacks_bundle);
  const absl::StatusOr<JoinString> join = ParseJoinString((*coordinator)->worker_join_string());
  if (join.ok() && std::any_of(join->addresses.begin(), join->addresses.end(), NamesNoMachine)) {
    log->Warning(
        "the join strings name no address at which other machines reach this one; --public HOST:PORT gives one");
  }
  if (flags.trust_proxy_ca) {
    log->Warning(
        absl::StrCat("--trust-proxy-ca: TLS ends at ", flags.public_addresses,
                     ", so whoever runs that reads the tokens, the work and the results that pass, and could change "
                     "them; ",
                     flags.state, "/admin.join does not pass there and is for this machine"));
  }
  absl::Status status;
  {
    const SignalWatcher watcher([&](int count) {
      if (count > 1) _exit(kExitInterrupted);
      log->Info("stopping");
      (*coordinator)->Stop();
    });
    status = (*coordinator)->Wait();
  }
  if (!status.ok()) return FailLocally(status);
  log->Info("stopped");
  return kExitOk;
}

}  // namespace potluck
