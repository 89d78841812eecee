// How a command ends: its exit code and, when it failed, one sentence on standard error.
//
// The codes are part of the interface: scripts rely on them, so they only get added. Plain functions, thread-safe.
#pragma once

#include "absl/status/status.h"

namespace potluck {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;         // A command, flag or value that is not allowed.
inline constexpr int kExitUnreachable = 3;   // The coordinator cannot be reached.
inline constexpr int kExitOtherVersion = 4;  // No protocol version in common with the coordinator.
inline constexpr int kExitRefused = 5;       // Token, role or key.
inline constexpr int kExitRules = 6;         // This platform's rules were not confirmed.
inline constexpr int kExitInterrupted = 130;

// The code for an error that came up while a command ran.
int ExitCodeFor(const absl::Status& status);

// Prints `potluck: SENTENCE` on standard error, with control characters replaced; returns ExitCodeFor(status).
int Fail(const absl::Status& status);
// The same for a platform's rules that are to be confirmed: kExitRules.
int FailRules(const absl::Status& status);
// The same for an error in what the user typed: kExitUsage.
int FailUsage(const absl::Status& status);
// The same for an error of this machine, where codes speak of files and ports and not of a coordinator: kExitFailed.
int FailLocally(const absl::Status& status);

}  // namespace potluck
