// The one binary `potluck`: picks the command.
#include <grpc/support/log.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "proto/versions.h"

namespace potluck {
namespace {

// The process list shows arguments to every user of the machine: what stands after the # of a join string is a secret.
void ScrubJoinStrings(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    char* secret = std::strstr(argv[i], "potluck://");
    if (secret != nullptr) secret = std::strchr(secret, '#');
    if (secret != nullptr) std::memset(secret + 1, '*', std::strlen(secret + 1));
  }
}

// What a user hears is one sentence; gRPC's own words are for those who ask for them.
void SilenceGrpc() {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
}

// What a script or a notebook started (deploy/python) leaves with it, whatever ended that: a notebook's kernel is
// killed when it is restarted, and nobody would know of what it left running. False: the owner has gone already.
bool LeaveWithOwner() {
  constexpr char kOwnerVariable[] = "POTLUCK_OWNER";
  const char* variable = std::getenv(kOwnerVariable);
  if (variable == nullptr) return true;
  pid_t owner = 0;
  const bool is_number = absl::SimpleAtoi(variable, &owner) && owner > 0;
  unsetenv(kOwnerVariable);  // It owns this process alone.
  if (!is_number) return true;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  return getppid() == owner || kill(owner, 0) == 0 || errno != ESRCH;  // It may have gone before the kernel was told.
}

int PrintVersion(const Args& /*args*/) {
  std::printf("potluck %s\n", kVersion);
  return 0;
}

int Main(int argc, char** argv) {
  const Args args(argv + 1, argv + argc);
  ScrubJoinStrings(argc, argv);
  SilenceGrpc();
  if (!LeaveWithOwner()) return kExitInterrupted;
  static const std::vector<Command> kCommands = {
      {"nqueens", "count the solutions of the N-Queens problem", RunNQueens},
      {"predict", "tell what a trained model sees in images", RunPredict},
      {"evaluate", "tell how well a trained model knows a data set", RunEvaluate},
      {"data", "inspect, verify, convert, fetch or draw a data set", RunData},
      {"serve", "run a coordinator", RunServe},
      {"join", "work for a coordinator", RunJoin},
      {"notebook", "write a notebook's cell that joins", RunNotebook},
      {"doctor", "look at this machine and the way to a coordinator, and say what to do", RunDoctor},
      {"train", "train a convolutional network", RunTrain},
      {"jobs", "list, show, watch, certify, cancel, pause, resume, delete or set jobs", RunJobs},
      {"workers", "list, drain or pardon workers", RunWorkers},
      {"report", "show how long workers stayed and were gone", RunReport},
      {"verify", "check the certificate of a result", RunVerify},
      {"token", "create, list or revoke tokens", RunToken},
      {"backup", "copy the state of a coordinator, which may be running", RunBackup},
      {"bench", "measure", RunBench},
      {"executor", "started by join, for one device", RunExecutor},
      {"--version", "print the version", PrintVersion},
  };
  const int code = RunCommand("", kCommands, args);
  const absl::Status written = FlushOutput();
  return written.ok() || code != kExitOk ? code : FailLocally(written);
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) { return potluck::Main(argc, argv); }
