// An append on its way through a store. A plain value.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/store.h"
#include "proto/ids.h"

namespace potluck {

// `status` and `verdicts` are what `done` is to be called with.
struct PendingAppend {
  Epoch epoch{};
  std::vector<Fact> facts;
  Store::Done done;
  absl::Status status;
  std::vector<Verdict> verdicts;
};

}  // namespace potluck
