// The worker's line to its coordinator: Join and Exchange over gRPC as plain values, one call at a time.
//
// Not thread-safe, but callbacks come from gRPC's threads: they must not call back into the Link. Destruction cancels
// the call in flight and waits for its callback.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/exchange.h"
#include "proto/workers.grpc.pb.h"
#include "worker/transport.h"

namespace potluck {

struct Hello {
  std::string installation, name, platform;
  std::vector<DeviceInfo> devices;
  absl::Duration ends_in = absl::InfiniteDuration();
  bool metered = false;
  std::string place;  // Platform::name
  absl::Duration session_age = absl::ZeroDuration();
  bool lacks_gpu = false;
};

struct Welcome {
  SessionId session{};
  absl::Duration longest_hold;
};

// One connection, for whoever makes calls over it. Immutable; its parts are thread-safe. The last reference must not be
// given up on one of gRPC's threads, which cannot destroy a channel.
struct Line {
  Connection connection;
  std::unique_ptr<v1::Workers::Stub> stub;
  std::string token;
};

class Link {
 public:
  // FailedPrecondition: no protocol version in common. PermissionDenied, Unauthenticated: not wanted here.
  // InvalidArgument: the coordinator does not take this worker as it is. Anything else: not reached.
  using Joined = std::function<void(const absl::Status&, const Welcome&)>;
  using Exchanged = std::function<void(const absl::Status&, const ExchangeReply&)>;

  explicit Link(JoinString join);
  ~Link();

  // Drops the connection; the next call makes a new one, to the next address, resolved anew.
  void Reconnect();
  // The connection that the last call was made over; null before the first.
  std::shared_ptr<const Line> line() const { return line_; }
  // Where the calls go.
  std::string address() const;

  void Join(const Hello& hello, Joined done);
  void Exchange(const ExchangeRequest& request, absl::Duration deadline, Exchanged done);
  // The callback of the call in flight still comes, soon.
  void Cancel();

 private:
  struct Call;
  // A call to be made, or why none can be. What it holds is freed by this object's thread, once it is over: gRPC cannot
  // destroy a channel on one of its own threads, and a context may hold the last reference to one.
  absl::StatusOr<Call*> Prepare(absl::Duration deadline);
  void CallOver(Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetFinishedCalls() ABSL_LOCKS_EXCLUDED(mutex_);

  const JoinString join_;
  size_t next_address_ = 0;
  std::shared_ptr<const Line> line_;
  std::list<std::unique_ptr<Call>> calls_;  // The latest is the last.
  Mutex mutex_;
  CondVar changed_;
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace potluck
