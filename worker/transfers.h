// A worker's bulk data: gets blobs and hands large results over, on threads of its own and over the session's
// connection, so that neither the session nor its Exchanges wait.
//
// What a run waits for goes before what is wanted soon, which pauses meanwhile. Large results go one at a time, from
// their files: no more than a piece of each is in memory. What is interrupted goes on over the next connection. Data
// stay in the cache (blob_cache.h); a round's bulk data only for as long as they are said to be in use. Thread-safe.
// Events come on its threads, with no lock held; none after the destructor has returned, which does not wait for the
// coordinator. The threads are started when there is something to do.
#pragma once

#include <grpcpp/client_context.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/ids.h"
#include "worker/back_off.h"
#include "worker/blob_cache.h"
#include "worker/lease_book.h"
#include "worker/link.h"
#include "worker/result_file.h"

namespace potluck {

struct TransferOptions {
  std::string cache;  // A folder for blobs that are kept.
  uint64_t cache_bytes = uint64_t{4} << 30;
  std::string scratch;  // One for those that are not.
  // One that the coordinator shares, where what is large goes through files, and one in it for what was linked; empty:
  // none.
  std::string shared, shared_scratch;
};

class TransferEvents {
 public:
  virtual ~TransferEvents() = default;
  // The blob's file, or why there is none. PermissionDenied and NotFound: the lease, or its round, is gone. Nothing
  // comes of a fetch that was forgotten.
  virtual void OnFetched(LeaseId lease, const std::string& digest, const absl::StatusOr<std::string>& path) = 0;
  // The SHA-256 of the result, which the coordinator now has; or why it does not want it.
  virtual void OnHandedOver(LeaseId lease, Interval interval, const absl::StatusOr<std::string>& digest) = 0;
};

class Transfers {
 public:
  Transfers(TransferOptions options, TransferEvents& events);
  ~Transfers();

  // ---- The session: there is a connection, and the coordinator knows the leases; or there is none any more.
  void Connect(std::shared_ptr<const Line> line, SessionId session) ABSL_LOCKS_EXCLUDED(mutex_);
  void Disconnect() ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- Blobs
  // For the run of a lease. `is_bulk`: it belongs to the round and is not kept longer.
  void Fetch(LeaseId lease, const std::string& digest, bool is_bulk) ABSL_LOCKS_EXCLUDED(mutex_);
  // The run is over.
  void ForgetFetches(LeaseId lease) ABSL_LOCKS_EXCLUDED(mutex_);
  void Prefetch(const std::vector<std::string>& digests) ABSL_LOCKS_EXCLUDED(mutex_);
  // A worker without a lease may read nothing: prefetching pauses when it is told so, until it has one again.
  void LeaseBegins() ABSL_LOCKS_EXCLUDED(mutex_);
  // All else is of no use any more: bulk data are removed, prefetching ends.
  void KeepOnly(const std::set<std::string>& bulk, const std::set<std::string>& blobs) ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- Results; not before the last one was handed over or forgotten.
  void HandOver(LeaseBook::HandOver result) ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetResults(LeaseId lease) ABSL_LOCKS_EXCLUDED(mutex_);

  // Of rounds' bulk data and results: what runs and rounds wait for.
  LinkUse link_use() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Want {
    std::set<LeaseId> leases;  // That wait for it; none: it is wanted soon.
    bool is_bulk = false;
    bool in_progress = false;
    grpc::ClientContext* call = nullptr;  // The one that fetches it.
  };
  // What a call is made over. Void when the connection was lost meanwhile.
  struct Way {
    std::shared_ptr<const Line> line;
    SessionId session{};
    uint64_t number = 0;
  };

  void FetchAll(size_t thread) ABSL_LOCKS_EXCLUDED(mutex_);
  // What to fetch next, marked as in progress; nullopt when it is time to end.
  std::optional<std::string> NextWanted(size_t thread) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> FetchOne(const std::string& digest, bool is_bulk) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> FindHere(const std::string& digest, bool is_bulk) ABSL_LOCKS_EXCLUDED(mutex_);
  // By a file in the shared folder, which gets a name in the scratch folder. FailedPrecondition: not this way.
  absl::StatusOr<std::string> LinkShared(const std::string& digest) ABSL_LOCKS_EXCLUDED(mutex_);
  // One call: from the first missing piece on, to the end or an interruption.
  absl::Status Receive(const std::string& digest, const Way& way, PartialBlob& blob) ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsWanted(const std::string& digest) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits while something more urgent goes on; false when the blob is not wanted any more, or not to be had this way.
  bool MayGoOn(const std::string& digest, const Way& way) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> KeepFetched(const std::string& digest, bool is_bulk, PartialBlob& blob)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Fetched(const std::string& digest, const absl::StatusOr<std::string>& path) ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasUrgent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<BlobCache*> Cache() ABSL_LOCKS_EXCLUDED(mutex_);
  void StartFetchers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void HandOverAll() ABSL_LOCKS_EXCLUDED(mutex_);
  // `by_name`: its file is in the shared folder, where the coordinator reads it.
  absl::StatusOr<std::string> Send(const LeaseBook::HandOver& result, const Way& way, bool by_name)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for a connection while `is_wanted`; nullopt when it is not, or it is time to end.
  std::optional<Way> WaitForWay(const std::function<bool()>& is_wanted) ABSL_LOCKS_EXCLUDED(mutex_);
  // A pause after a failed call, which a new connection ends.
  void Pause(BackOff& back_off, uint64_t way) ABSL_LOCKS_EXCLUDED(mutex_);

  const TransferOptions options_;
  TransferEvents& events_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
  Way way_ ABSL_GUARDED_BY(mutex_);                           // Its line is null: there is no connection.
  std::unique_ptr<BlobCache> cache_ ABSL_GUARDED_BY(mutex_);  // Once it is opened.
  std::map<std::string, Want> wanted_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> soon_ ABSL_GUARDED_BY(mutex_);  // In the order asked for; also what is not wanted any more.
  bool may_prefetch_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<std::string, std::string> bulk_files_ ABSL_GUARDED_BY(mutex_);  // Paths by digest.
  std::optional<LeaseBook::HandOver> result_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* result_call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  LinkUse link_use_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> fetchers_ ABSL_GUARDED_BY(mutex_);
  std::thread sender_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
