// The one worker of a user on a machine, for whoever may start it again while it still runs: a notebook whose kernel
// was restarted keeps the worker of the former one.
//
// A file in the user's cache directory, one a machine, holds the worker's installation and who has it: the process's
// number, its start and the machine that counts both. The lock on the file decides; the words only say whom to ask. A
// process is believed to be the one that is meant if all three agree, and is signalled over a descriptor that cannot
// come to mean another one, so nobody else is ever hit.
//
// Owns the lock until destruction or the process's end. Blocks while the older worker leaves. Not thread-safe.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace potluck {

struct SingleWorkerOptions {
  std::string directory;  // Where the file is; empty: there is none.
  // How long an older worker may take to hand in what it computes. Then it is told to drop it, and when `last_words`
  // are over too, it and its executors are killed.
  absl::Duration patience = absl::Seconds(8);
  absl::Duration last_words = absl::Seconds(2);
  std::function<void(const std::string&)> say = [](const std::string&) {};  // A sentence for people.
};

class SingleWorker {
 public:
  // Asks the older worker to leave, if there is one, and takes its place. FailedPrecondition: who has the place cannot
  // be told or does not end; the sentence says what to do. Where the file cannot be kept (a full disk, no locks) the
  // place is taken without it, and that is said.
  static absl::StatusOr<SingleWorker> Take(const SingleWorkerOptions& options);

  SingleWorker(SingleWorker&& other) noexcept;
  SingleWorker& operator=(SingleWorker&&) = delete;
  ~SingleWorker();

  // The same for each worker that takes this place, so that a coordinator sees one; empty: none could be kept.
  const std::string& installation() const { return installation_; }

 private:
  SingleWorker(int lock, std::string installation) : lock_(lock), installation_(std::move(installation)) {}

  int lock_ = -1;  // An open, locked descriptor; -1: none.
  std::string installation_;
};

}  // namespace potluck
