// Who the coordinator is: its key, and the small means by which it keeps secrets.
//
// The key is what a join string pins: it is made once in a state directory and stays, so that join strings stay good.
// Plain functions and values; errors are sentences that name the file and never hold a secret.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

// A server key (ECDSA P-256) and its self-signed certificate. A value; never log `key_pem`.
struct Identity {
  std::string key_pem;
  std::string certificate_pem;
  std::string pin;  // 32 bytes: the SHA-256 of the certificate's SubjectPublicKeyInfo.

  // Reads DIR/key.pem and DIR/certificate.pem, or makes them (and DIR) if there are none. A certificate that is
  // missing beside its key is made anew from it, which leaves the pin as it was. Errors name the file and what to do.
  // One process at a time; `now` is the time from which a new certificate counts its 20 years.
  static absl::StatusOr<Identity> LoadOrCreate(const std::string& directory, absl::Time now);

  // Makes one that lives in memory only.
  static absl::StatusOr<Identity> Create(absl::Time now);
};

// The pin of a certificate, 32 bytes.
absl::StatusOr<std::string> Pin(absl::string_view certificate_pem);

// Writes a file that only its owner may read: whole or not at all, durable on return, replacing what was there.
// Refuses to write where there is a symbolic link or anything else that is not a plain file.
absl::Status WriteSecretFile(const std::string& path, absl::string_view content);

// 192 random bits from the system's generator, base64url, 32 characters.
absl::StatusOr<std::string> NewSecret();

// A name a user gives (of a token, a worker): 1 to 64 characters of UTF-8, no control characters.
absl::Status ValidateName(absl::string_view name);

}  // namespace potluck
