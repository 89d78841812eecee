// Reads the TLS ClientHello that opens a connection, as far as it has arrived, to decide who shall have the connection.
//
// A pure function over bytes: no state, no I/O, thread-safe. It copies nothing out of range whatever the bytes are, and
// it believes nothing: the real TLS implementation reads the same bytes again afterwards.
// Formats: RFC 8446 sections 4.1.2 and 5.1, RFC 7301 (ALPN), RFC 6066 section 3 (server name).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace potluck {

// The longest ClientHello that is read, its 4 bytes of header included.
inline constexpr size_t kMaxClientHello = 16 * 1024;
// The most bytes of a connection that are looked at: room for the record headers of a hello spread over records.
inline constexpr size_t kMaxClientHelloBytes = 20 * 1024;

struct ClientHello {
  enum class State {
    kNeedsMore,  // A beginning of a ClientHello: ask again with at least `needed` bytes.
    kNotTls,     // Not a ClientHello, a damaged one, or one that is too long.
    kComplete,
  };
  State state = State::kNeedsMore;
  size_t needed = 1;  // For kNeedsMore: more than were given, at most kMaxClientHelloBytes.

  // For kComplete.
  bool offers_tls13 = false;
  std::vector<std::string> alpn;  // In the order of the client's preference; empty if it offers none.
  std::string server_name;        // Empty if it names none.
};

// `bytes` is the connection's beginning.
ClientHello ParseClientHello(absl::string_view bytes);

}  // namespace potluck
