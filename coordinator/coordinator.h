// A running coordinator: store, core, services and front door put together. `potluck serve` runs one, `potluck nqueens`
// without a server embeds one.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/bundle.h"
#include "coordinator/core/core.h"

namespace potluck {

struct CoordinatorOptions {
  std::string state_directory;  // Empty: everything in memory, gone at the end.
  std::string listen = "127.0.0.1:0";
  // host:port under which workers reach it, for join strings; empty: what it listens on.
  std::vector<std::string> public_addresses;
  // What stands at the public addresses ends TLS itself: join strings hold no pin, and workers check its certificate.
  // The administrator's own is for this machine: pinned, with the addresses listened on.
  bool trust_proxy_ca = false;
  uint64_t blob_quota_bytes = uint64_t{8} << 30;  // Of DIR/blobs; in memory 1 GiB if this is more.
  // Memory for results on their way to their slices (Workers.PutResult); a larger one comes alone.
  uint64_t result_memory_bytes = uint64_t{64} << 20;
  // A folder of this machine's workers and the coordinator's, for what is large (service/shared_folder.h); empty: none.
  std::string shared_folder;
  std::shared_ptr<const Bundle> bundle;  // What is handed out to notebooks that join; null: nothing.
  CoreOptions core;
  PlannerFactory planners;  // Empty: the workloads of kernels/workload/registry.h.
  // One sentence each; called from any thread, must not block. Never a secret in it.
  std::function<void(const std::string&)> log;
};

class Coordinator {
 public:
  // Listens when it returns. Errors are sentences: the port is in use, the state directory is locked, damaged, newer...
  // Writes DIR/worker.join and DIR/admin.join (mode 0600); key and tokens stay the same after a restart.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(CoordinatorOptions options);
  ~Coordinator();  // Stops.
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  int port() const;
  std::string worker_join_string() const;
  std::string admin_join_string() const;

  // Returns when Stop was called (Ok) or when it cannot go on: another coordinator took over the state, say.
  absl::Status Wait();
  // Returns when so many workers are at the table, or after `limit`.
  void WaitForWorkers(size_t count, absl::Duration limit);
  // Answers what is in flight, closes the port, writes what is queued.
  void Stop();

 private:
  class Impl;
  explicit Coordinator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace potluck
