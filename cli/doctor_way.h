// The way to a coordinator, step by step, as `potluck doctor JOIN` goes it: proxy, name, tcp, tls, http2, token,
// version, round-trip, throughput, clock-skew, keepalive. The first step that fails ends the way; what is after it is
// not tried.
//
// It takes no worker's place at the coordinator: it asks Join with no devices, which is always refused, and Check. The
// token is in no row. Blocks; thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/doctor_report.h"
#include "proto/join_string.h"

namespace potluck {

struct WayOptions {
  absl::Duration step_limit = absl::Seconds(8);  // What each step may take.
  bool is_long = false;                          // Also stay silent for `silence` and see whether the connection lives.
  absl::Duration silence = absl::Seconds(90);
  std::function<void(const std::string& sentence)> say;  // Before a long wait; may be empty.
};

// Whether the join string can be used, and what it says, but for its token.
CheckRow CheckJoinString(const absl::StatusOr<JoinString>& join);

// The steps to the join string's address number `address`.
std::vector<CheckRow> CheckWay(const JoinString& join, size_t address, const WayOptions& options);

}  // namespace potluck
