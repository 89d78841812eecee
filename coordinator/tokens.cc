#include "coordinator/tokens.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/identity.h"

namespace potluck {
namespace {

uint64_t Prefix(absl::string_view hash) {
  uint64_t prefix = 0;
  memcpy(&prefix, hash.data(), std::min(hash.size(), sizeof prefix));
  return prefix;
}

std::string Describe(const TokenCreated& token) {
  return absl::StrCat("token ", static_cast<uint64_t>(token.token), " ('", token.name, "')");
}

absl::Status Revoked(const TokenCreated& token) {
  return absl::PermissionDeniedError(
      absl::StrCat(Describe(token), " was revoked; ask whoever runs the coordinator for a new join string"));
}

}  // namespace

void Tokens::Add(const TokenCreated& created, bool revoked) {
  if (tokens_.insert_or_assign(created.token, Listed{created, revoked}).second) {
    by_prefix_[Prefix(created.hash)].push_back(created.token);
  }
  last_id_ = std::max(last_id_, static_cast<uint64_t>(created.token));
}

void Tokens::Load(const std::vector<TokenCreated>& active, const std::vector<TokenCreated>& revoked) {
  MutexLock lock(&mutex_);
  tokens_.clear();
  by_prefix_.clear();
  last_id_ = 0;
  for (const TokenCreated& created : active) Add(created, false);
  for (const TokenCreated& created : revoked) Add(created, true);
}

absl::StatusOr<Tokens::Created> Tokens::Create(absl::string_view name, Role role, absl::Duration lifetime,
                                               absl::Time now) {
  if (absl::Status status = ValidateName(name); !status.ok()) return status;
  if (lifetime <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the token's lifetime is ", absl::FormatDuration(lifetime), "; it must be longer than nothing"));
  }
  absl::StatusOr<std::string> secret = NewSecret();
  if (!secret.ok()) return secret.status();
  Created created;
  created.fact.hash = Sha256(*secret);
  created.fact.name = std::string(name);
  created.fact.role = role;
  created.fact.at = now;
  created.fact.expires = now + lifetime;
  created.secret = *std::move(secret);
  MutexLock lock(&mutex_);
  created.fact.token = TokenId{last_id_ + 1};
  Add(created.fact, false);
  return created;
}

void Tokens::Forget(TokenId token) {
  MutexLock lock(&mutex_);
  const auto found = tokens_.find(token);
  if (found == tokens_.end()) return;
  const auto bucket = by_prefix_.find(Prefix(found->second.created.hash));
  bucket->second.erase(std::remove(bucket->second.begin(), bucket->second.end(), token), bucket->second.end());
  if (bucket->second.empty()) by_prefix_.erase(bucket);
  tokens_.erase(found);
}

absl::StatusOr<Tokens::Listed> Tokens::Find(absl::string_view secret) const {
  const std::string hash = Sha256(secret);
  MutexLock lock(&mutex_);
  if (const auto bucket = by_prefix_.find(Prefix(hash)); bucket != by_prefix_.end()) {
    for (TokenId token : bucket->second) {
      const Listed& listed = tokens_.at(token);
      if (listed.created.hash.size() == kSha256Bytes &&
          CRYPTO_memcmp(listed.created.hash.data(), hash.data(), kSha256Bytes) == 0) {
        return listed;
      }
    }
  }
  return absl::UnauthenticatedError(
      "this coordinator does not know the join string's token; ask whoever runs it for a new join string");
}

absl::StatusOr<Tokens::Authenticated> Tokens::AuthenticateSession(absl::string_view secret) const {
  absl::StatusOr<Listed> listed = Find(secret);
  if (!listed.ok()) return listed.status();
  if (listed->revoked) return Revoked(listed->created);
  return Authenticated{listed->created.token, listed->created.name, listed->created.role};
}

absl::StatusOr<Tokens::Authenticated> Tokens::Authenticate(absl::string_view secret, absl::Time now) const {
  absl::StatusOr<Listed> listed = Find(secret);
  if (!listed.ok()) return listed.status();
  if (listed->revoked) return Revoked(listed->created);
  if (now >= listed->created.expires) {
    return absl::PermissionDeniedError(
        absl::StrCat(Describe(listed->created), " expired at ",
                     absl::FormatTime("%Y-%m-%d %H:%M UTC", listed->created.expires, absl::UTCTimeZone()),
                     "; ask whoever runs the coordinator for a new join string"));
  }
  return Authenticated{listed->created.token, listed->created.name, listed->created.role};
}

absl::StatusOr<TokenRevoked> Tokens::Revoke(TokenId token, absl::Time now) {
  MutexLock lock(&mutex_);
  const auto found = tokens_.find(token);
  if (found == tokens_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no token ", static_cast<uint64_t>(token)));
  }
  if (found->second.revoked) {
    return absl::FailedPreconditionError(absl::StrCat(Describe(found->second.created), " is revoked already"));
  }
  found->second.revoked = true;
  TokenRevoked fact;
  fact.token = token;
  fact.at = now;
  return fact;
}

std::vector<Tokens::Listed> Tokens::List() const {
  MutexLock lock(&mutex_);
  std::vector<Listed> list;
  list.reserve(tokens_.size());
  for (const auto& [token, listed] : tokens_) list.push_back(listed);
  return list;
}

}  // namespace potluck
