// Identifiers that coordinator and workers share. Strong types, so that a job cannot be passed for a worker.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace potluck {

enum class JobId : uint64_t {};      // Counts from 1 in a state directory, never used again.
enum class SessionId : uint64_t {};  // One Join; random, so that a guess is worth nothing.
enum class TokenId : uint64_t {};
enum class WorkerId : uint64_t {};  // One installation: the same after a restart of worker or coordinator.
enum class Epoch : uint64_t {};     // Raised durably each time a coordinator opens the state directory.

// Names one lease for ever: the epoch tells apart the leases of two runs of the coordinator.
struct LeaseId {
  uint64_t epoch = 0;
  uint64_t counter = 0;
  friend auto operator<=>(const LeaseId&, const LeaseId&) = default;
};

// One round of one job.
struct RoundKey {
  JobId job{};
  uint32_t round = 0;
  friend auto operator<=>(const RoundKey&, const RoundKey&) = default;
};

inline std::string ToString(JobId id) { return absl::StrCat(static_cast<uint64_t>(id)); }
inline std::string ToString(LeaseId id) { return absl::StrCat(id.epoch, ".", id.counter); }

}  // namespace potluck
