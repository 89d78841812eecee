#include "cli/exit_code.h"

#include <cstdio>
#include <string>

#include "absl/strings/strip.h"
#include "cli/output.h"

namespace potluck {
namespace {

void Print(const absl::Status& status) {
  // Some sentences come with a full stop, some without.
  const std::string sentence = Printable(absl::StripSuffix(status.message(), "."));
  std::fprintf(stderr, "potluck: %s\n", sentence.c_str());
}

}  // namespace

int ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitRefused;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

int Fail(const absl::Status& status) {
  Print(status);
  return ExitCodeFor(status);
}

int FailRules(const absl::Status& status) {
  Print(status);
  return kExitRules;
}

int FailUsage(const absl::Status& status) {
  Print(status);
  return kExitUsage;
}

int FailLocally(const absl::Status& status) {
  Print(status);
  return kExitFailed;
}

}  // namespace potluck
