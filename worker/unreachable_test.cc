#include "worker/unreachable.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace potluck {
namespace {

// As gRPC hands them over.
constexpr char kConnecting[] = "failed to connect to all addresses; last error: UNKNOWN: ipv4:192.0.2.1:4242: ";

std::string Begin(absl::string_view words) {
  const std::string reason = UnreachableReason(absl::StrCat(kConnecting, words));
  return reason.substr(0, reason.find(':'));
}

TEST(UnreachableTest, WhatIsKnownIsSaidInOurWords) {
  EXPECT_EQ(Begin("Failed to connect to remote host: Connection refused"), "nothing listens there");
  EXPECT_EQ(Begin("Failed to connect to remote host: Network is unreachable"),
            "this machine has no network that leads there");
  EXPECT_EQ(Begin("Failed to connect to remote host: No route to host"),
            "this machine has no network that leads there");
  EXPECT_EQ(Begin("Failed to connect to remote host: Connection timed out"), "nothing answers there");
  EXPECT_EQ(Begin("Failed to connect to remote host: FD shutdown"), "nothing answers there");
  EXPECT_EQ(Begin("Tls handshake failed: SSL_ERROR_SSL: error:0A00010B:SSL routines::wrong version number"),
            "what answers there does not speak TLS");
  EXPECT_EQ(Begin("Cannot check peer: missing selected ALPN property."),
            "a web server answers there, but no coordinator");
  EXPECT_EQ(UnreachableReason("DNS resolution failed for nowhere.example:4242: C-ares status is not ARES_SUCCESS "
                              "qtype=A name=nowhere.example is_balancer=0: Domain name not found")
                .substr(0, 24),
            "its name cannot be found");
  EXPECT_EQ(UnreachableReason(kNoAnswer).substr(0, 21), "nothing answers there");
}

TEST(UnreachableTest, WhatIsNotKnownIsHandedOn) {
  EXPECT_EQ(UnreachableReason("Socket closed"), "Socket closed");
  EXPECT_EQ(UnreachableReason(""), "");
}

TEST(UnreachableTest, NoReasonIsMoreThanPartOfOneSentence) {
  for (const char* words : {"wrong version number", "packet length too long", "ALPN", "DNS resolution failed",
                            "Connection refused", "Network is unreachable", "No route to host"}) {
    const std::string reason = UnreachableReason(words);
    EXPECT_NE(reason, words);
    EXPECT_EQ(reason.find(". "), std::string::npos) << reason;
    EXPECT_NE(reason.back(), '.') << reason;
  }
}

}  // namespace
}  // namespace potluck
