// SHA-256 for digests of payloads, blobs and tokens. Thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace potluck {

inline constexpr size_t kSha256Bytes = 32;

// The 32 raw bytes. Ends the process if OpenSSL has no SHA-256: nothing could be trusted without it.
std::string Sha256(absl::string_view bytes);

// Lower-case hexadecimal digits, two a byte.
std::string HexDigest(absl::string_view digest);

// Reads what HexDigest wrote into `digest`; false if `hex` is not 64 lower-case hexadecimal digits.
bool ParseHexDigest(absl::string_view hex, std::string& digest);

}  // namespace potluck
