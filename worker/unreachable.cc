#include "worker/unreachable.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace potluck {
namespace {

struct KnownReason {
  const char* words;  // In gRPC's text, in lower case.
  const char* reason;
};

// Of the first that fits.
constexpr KnownReason kReasons[] = {
    // OpenSSL, of an answer that is not TLS: plain HTTP begins with "HTTP/".
    {"wrong version number",
     "what answers there does not speak TLS: a web server, another program, or this network's log-in page (open any "
     "web "
     "page in a browser to see it); check the address and the port"},
    {"packet length too long", "what answers there does not speak TLS; check the address and the port"},
    // gRPC, of a TLS server that does not speak HTTP/2.
    {"alpn",
     "a web server answers there, but no coordinator: check the address and the port, and whether this network shows a "
     "log-in page (open any web page in a browser to see it)"},
    {"dns resolution failed",
     "its name cannot be found: check the name, and whether this machine has internet access (on Kaggle it must be "
     "switched on in the notebook's settings)"},
    {"connection refused",
     "nothing listens there: check that the coordinator runs, that the address and the port are right, and that its "
     "way "
     "home forwards the port"},
    {"network is unreachable", "this machine has no network that leads there: check whether it has internet access"},
    {"no route to host", "this machine has no network that leads there: check the address, and firewalls in between"},
    {"connection timed out",
     "nothing answers there: check that the coordinator runs, that its way home forwards the port, and firewalls in "
     "between"},
    {"fd shutdown",  // How gRPC ends a try to connect that took it too long.
     "nothing answers there: check that the coordinator runs, that its way home forwards the port, and firewalls in "
     "between"},
};

}  // namespace

std::string UnreachableReason(absl::string_view message) {
  const std::string text = absl::AsciiStrToLower(message);
  for (const KnownReason& known : kReasons) {
    if (absl::StrContains(text, known.words)) return known.reason;
  }
  return std::string(message);
}

}  // namespace potluck
