// What workers and clients say to the core and hear from it, as plain values. The service translates to protobuf.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/store.h"
#include "kernels/workload/shared_bytes.h"
#include "proto/exchange.h"

namespace potluck {

// The two clocks: leases run on the monotonic one, facts carry the wall's.
struct Instant {
  absl::Time monotonic;
  absl::Time wall;
};

// Names a waiting call or request of the service.
enum class CallId : uint64_t {};

struct JoinRequest {
  SessionId session{};  // Random, chosen by the service.
  TokenId token{};
  std::string token_name;
  std::string installation;
  std::string name;
  std::string version;
  std::string platform;
  std::vector<DeviceInfo> devices;              // One slot each.
  absl::Time ends_at = absl::InfiniteFuture();  // Monotonic.
  bool metered = false;
  std::string place;  // What kind of platform it runs on: "colab" ... "machine"; empty: not said.
  absl::Duration session_age = absl::ZeroDuration();  // Since that platform's session began; zero: not known.
  bool lacks_gpu = false;                             // A GPU was looked for and none can be used.
};

enum class JobState { kRunning, kPaused, kDone, kCancelled, kFailed };

struct Contribution {
  WorkerId id{};
  std::string worker;
  uint64_t slices = 0;
  uint64_t indices = 0;
  double cost = 0;
  double busy_seconds = 0;
  uint64_t bytes_sent = 0;      // Payloads of its slices, those included that did not count.
  uint64_t bytes_received = 0;  // Of blobs.
  std::string devices;          // Their numerics classes.
};

struct JobView {
  JobId id{};
  std::string workload, name, spec, submitted_by;
  JobState state = JobState::kRunning;
  int32_t priority = 0;
  double weight = 1;
  uint32_t round = 0;
  uint64_t size = 0;       // Indices in the current round.
  uint64_t committed = 0;  // Of them.
  double cost = 0, committed_cost = 0;
  double rate = 0;       // Cost per second by the slots at work now.
  uint32_t workers = 0;  // Sessions at work on it now.
  uint64_t disagreements = 0;
  double verify = 0;             // Which share is to be verified.
  uint64_t verified_slices = 0;  // Of the current round (volatile jobs: of all), and what they hold.
  uint64_t verified_indices = 0;
  double verified_cost = 0;
  std::string summary;       // The workload's own bytes.
  std::string message;       // Why it failed, or what verification found.
  std::string waiting_for;   // One sentence, when it cannot go on without somebody's doing.
  std::string saved_state;   // Digest of the blob with the newest saved state; empty: none.
  uint32_t saved_round = 0;  // At the opening of which round that was.
  absl::Time submitted_at, ended_at;
  std::vector<Contribution> contributions;
};

struct WorkerView {
  SessionId session{};
  std::string name, installation, token_name, version, platform;
  std::string place;                                    // JoinRequest's.
  absl::Duration leaves_in = absl::InfiniteDuration();  // As its session ends; InfiniteDuration: not known.
  std::vector<DeviceInfo> devices;
  double seconds_since_heard = 0;
  size_t leases = 0;
  uint64_t slices = 0;
  uint64_t refused_slices = 0;
  bool draining = false;
  bool connected = true;
  LinkUse link;
  std::string quarantined;  // Why; empty: it is not. If it is, it is not at the table.
};

// What the core wants done; the service does it after each call into the core, in this order.
struct Outbox {
  struct AppendFacts {
    uint64_t id = 0;
    std::vector<Fact> facts;
  };
  struct ExchangeAnswer {
    CallId call{};
    absl::Status status;
    ExchangeReply reply;
  };
  struct RequestAnswer {
    CallId call{};
    absl::Status status;
    JobId job{};
  };
  // Write these parts, one after the other, durably as one blob, keep it until it is named (Core::NamedBlobs), and call
  // Core::StateWritten. In the order given, apart from all else.
  struct SaveState {
    uint64_t id = 0;
    JobId job{};
    uint32_t round = 0;
    std::vector<SharedBytes> parts;
  };
  std::vector<AppendFacts> appends;
  std::vector<SaveState> saves;
  std::vector<ExchangeAnswer> exchanges;
  std::vector<RequestAnswer> requests;
  // A worker was found wrong: read which slices of the round are its own and call Core::RetractDistrusted.
  struct Distrust {
    RoundKey round;
    WorkerId worker{};
  };
  std::vector<Distrust> distrusted;
  std::vector<RoundKey> rebuilds;  // Read the round's slices and call Core::Rebuild, before anything else is let in.
  std::vector<JobId> ended_jobs;   // For those who watch.
  bool collect_blobs =
      false;  // A job that named blobs is gone, or a state that was saved. Before `requests` are answered.
  std::vector<std::string> log;  // Sentences for the operator.
  absl::Status fatal;            // Not ok: this coordinator must stop.
};

}  // namespace potluck
