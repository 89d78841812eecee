// SHA-256 for digests of payloads, blobs and tokens. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace potluck {

inline constexpr size_t kSha256Bytes = 32;

// The 32 raw bytes. Ends the process if OpenSSL has no SHA-256: nothing could be trusted without it.
std::string Sha256(absl::string_view bytes);

// The same over bytes that come piece by piece. Not thread-safe.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void Add(absl::string_view bytes);
  // Of all that was added so far; more may be added afterwards.
  std::string Digest() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// Lower-case hexadecimal digits, two a byte.
std::string HexDigest(absl::string_view digest);

// Reads what HexDigest wrote into `digest`; false if `hex` is not 64 lower-case hexadecimal digits.
bool ParseHexDigest(absl::string_view hex, std::string& digest);

}  // namespace potluck
