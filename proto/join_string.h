// The join string: all that a worker needs to reach a coordinator and to be let in.
//
//   potluck://host:port[,host:port...]#1.PIN.TOKEN[.EXTENSION...].CHECK
//
// The fragment is a row of fields between dots, every one of them URL-safe:
//   1          the version; a change that every reader must understand raises it.
//   PIN        base64url of the SHA-256 of the certificate's SubjectPublicKeyInfo (43 characters), or empty: then the
//              certificate is checked against the system's roots, for a tunnel that ends TLS itself.
//   TOKEN      the secret, base64url, 22 to 128 characters.
//   EXTENSION  `name~value`; a reader passes over those that it does not know. So far:
//                bundle~DIGEST  base64url of the SHA-256 of the worker bundle (43 characters). It is there where there
//                is
//                               no PIN: whoever ends TLS in between cannot then hand out another program.
//   CHECK      base64url of the first 3 bytes of the SHA-256 of the fragment up to and with the last dot before it.
//
// The checksum is there to recognise a string that was cut short when it was copied; it protects nothing. It does not
// cover the addresses, so that these may be edited by hand (a forwarded port, say).
//
// Plain functions without state. No error message ever holds the token.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace potluck {

struct JoinString {
  std::vector<std::string> addresses;  // 1 to 16 times `host:port`; an IPv6 address stands in brackets.
  std::string pin;                     // 32 bytes, or empty: trust the system's roots.
  std::string token;                   // As it is sent.
  std::string bundle = {};             // 32 bytes: the SHA-256 of the worker bundle, or empty.
};

// Checks `host:port`: a host name, an IPv4 address or an IPv6 address in brackets, and a port from 1 to 65535.
absl::Status ValidateAddress(absl::string_view address);

// Space around the string is passed over. InvalidArgument says in one sentence what is wrong.
absl::StatusOr<JoinString> ParseJoinString(absl::string_view text);

// The inverse of ParseJoinString; InvalidArgument if a field could not be read back.
absl::StatusOr<std::string> FormatJoinString(const JoinString& join);

// Reads what a user gave: a join string itself, the name of a file that holds one, or `-` for standard input.
absl::StatusOr<JoinString> LoadJoinString(const std::string& argument);

// The pin (32 bytes) of the first certificate in `certificate_pem`; InvalidArgument if there is none.
absl::StatusOr<std::string> CertificatePin(absl::string_view certificate_pem);

}  // namespace potluck
