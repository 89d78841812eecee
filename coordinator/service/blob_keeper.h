// Decides how long blobs stay: while a job names them (to read them, or as its saved state), while they are being put
// or submitted with a job, and, once put, until a job has named them or the coordinator restarts. All others are
// collected.
//
// Thread-safe; borrows the store, which several may read at the same time. One lock, held while blobs are collected, so
// that none goes between being checked and being named.
//
// Errors are the store's; whoever puts may be told ResourceExhausted only after all that can go has gone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "coordinator/store/blob_store.h"

namespace potluck {

class BlobKeeper {
 public:
  // The digests that jobs name. Called with the lock held: it must not call back.
  using NamedBlobs = std::function<std::vector<std::string>()>;
  using Log = std::function<void(const std::string&)>;

  // One client's part in putting a blob. Not thread-safe. When the last one that puts a blob goes, the room set aside
  // for it is free again; the pieces stay until the next collection.
  class Put {
   public:
    ~Put();
    Put(const Put&) = delete;
    Put& operator=(const Put&) = delete;

    const std::string& digest() const { return digest_; }
    // As of the start.
    const std::vector<uint64_t>& missing() const { return missing_; }
    absl::Status AddPiece(uint64_t index, absl::string_view bytes);
    // The blob is complete and durable on return, and waits for a job to name it.
    absl::Status Finish();
    // The same for a blob that is named before this goes.
    absl::Status FinishNamed();

   private:
    friend class BlobKeeper;
    Put(BlobKeeper& keeper, std::string digest, std::vector<uint64_t> missing);
    BlobKeeper& keeper_;
    const std::string digest_;
    const std::vector<uint64_t> missing_;
  };

  // Keeps blobs while a job that names them is being stored. Not thread-safe.
  class Hold {
   public:
    ~Hold() { Release(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    // A job names them now: it alone keeps them from here on.
    void Named();

   private:
    friend class BlobKeeper;
    Hold(BlobKeeper& keeper, std::vector<std::string> blobs) : keeper_(keeper), blobs_(std::move(blobs)) {}
    void Release();
    BlobKeeper& keeper_;
    std::vector<std::string> blobs_;  // None any more once released.
  };

  BlobKeeper(BlobStore& store, NamedBlobs named, Log log);

  absl::StatusOr<std::unique_ptr<Put>> StartPut(const Manifest& manifest) ABSL_LOCKS_EXCLUDED(mutex_);
  // InvalidArgument names the first that is not complete in the store.
  absl::StatusOr<std::shared_ptr<Hold>> HoldForJob(const std::vector<std::string>& blobs) ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes what need not stay. What cannot be removed is logged and tried again the next time.
  void Collect() ABSL_LOCKS_EXCLUDED(mutex_);

  BlobStore& store() { return store_; }

 private:
  void CollectLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  BlobStore& store_;
  const NamedBlobs named_;
  const Log log_;
  Mutex mutex_;
  std::map<std::string, int> puts_ ABSL_GUARDED_BY(mutex_);   // How many put the blob now.
  std::map<std::string, int> holds_ ABSL_GUARDED_BY(mutex_);  // How many hold it now.
  std::set<std::string> unnamed_ ABSL_GUARDED_BY(mutex_);     // Put in this run, not named by a job since.
};

}  // namespace potluck
