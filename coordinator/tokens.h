// Who may come: the tokens of join strings, each with a name, a role and an end.
//
// Only hashes are kept; the secret is given out once, when the token is made. Storing is the caller's: Create and
// Revoke return the fact to append, Load takes what was stored.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "coordinator/store/facts.h"
#include "proto/ids.h"

namespace potluck {

// The tokens of one coordinator. Thread-safe.
class Tokens {
 public:
  struct Created {
    TokenCreated fact;   // For the store.
    std::string secret;  // For the join string; hand it out only after the fact is stored.
  };
  struct Authenticated {
    TokenId token{};
    std::string name;
    Role role = Role::kWorker;
  };
  struct Listed {
    TokenCreated created;
    bool revoked = false;
  };

  // Replaces everything by what was stored.
  void Load(const std::vector<TokenCreated>& active, const std::vector<TokenCreated>& revoked);

  // Makes a token, good at once. `lifetime` is positive, absl::InfiniteDuration() for no end.
  absl::StatusOr<Created> Create(absl::string_view name, Role role, absl::Duration lifetime, absl::Time now);

  // Takes back a Create whose fact could not be stored.
  void Forget(TokenId token);

  // For Join and commands. Unauthenticated: unknown. PermissionDenied: expired, or revoked; the sentences differ.
  absl::StatusOr<Authenticated> Authenticate(absl::string_view secret, absl::Time now) const;

  // For calls of a session that has joined: as Authenticate, but expiry does not matter, since it bars only Join.
  absl::StatusOr<Authenticated> AuthenticateSession(absl::string_view secret) const;

  // The token is refused from now on; the fact is for the store. NotFound, or FailedPrecondition if it was already.
  absl::StatusOr<TokenRevoked> Revoke(TokenId token, absl::Time now);

  // By ascending id, revoked and expired ones included.
  std::vector<Listed> List() const;

 private:
  void Add(const TokenCreated& created, bool revoked) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Listed> Find(absl::string_view secret) const;

  mutable Mutex mutex_;
  std::map<TokenId, Listed> tokens_ ABSL_GUARDED_BY(mutex_);
  // By the first 8 bytes of the hash: it narrows the search down, the whole hash is then compared in constant time.
  absl::flat_hash_map<uint64_t, std::vector<TokenId>> by_prefix_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace potluck
