#include "proto/join_string.h"

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

constexpr char kToken[] = "QcWqPz0vT3mJkXy8_-abcdEF";

JoinString Sample() {
  return {{"lab.example.org:4242", "192.0.2.7:1", "[2001:db8::1]:65535"}, std::string(32, '\xfb'), kToken};
}

std::string Formatted(const JoinString& join) {
  absl::StatusOr<std::string> text = FormatJoinString(join);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

std::string Complaint(const std::string& text) {
  absl::StatusOr<JoinString> join = ParseJoinString(text);
  if (join.ok()) return "accepted";
  return std::string(join.status().message());
}

std::string TemporaryFile(const std::string& content) {
  const std::string path =
      absl::StrCat(testing::TempDir(), "/join_string_", testing::UnitTest::GetInstance()->current_test_info()->name());
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

TEST(JoinStringTest, IsReadBackAsItWasWritten) {
  const std::string text = Formatted(Sample());
  EXPECT_TRUE(absl::StartsWith(text, "potluck://lab.example.org:4242,192.0.2.7:1,[2001:db8::1]:65535#1.-_v7")) << text;
  for (const std::string& given : {text, absl::StrCat("  ", text, "\r\n")}) {
    absl::StatusOr<JoinString> join = ParseJoinString(given);
    ASSERT_TRUE(join.ok()) << join.status();
    EXPECT_EQ(join->addresses, Sample().addresses);
    EXPECT_EQ(join->pin, Sample().pin);
    EXPECT_EQ(join->token, kToken);
  }
}

TEST(JoinStringTest, WithoutAPinTrustsTheSystemsRoots) {
  JoinString join = Sample();
  join.pin.clear();
  absl::StatusOr<JoinString> again = ParseJoinString(Formatted(join));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->pin, "");
  EXPECT_EQ(again->token, kToken);
}

// As any writer would put it, with a checksum that fits.
std::string WithFields(const std::string& fields) {
  const std::string fragment = absl::StrCat("1..", kToken, ".", fields);
  std::string check;
  absl::WebSafeBase64Escape(Sha256(fragment).substr(0, 3), &check);
  return absl::StrCat("potluck://lab.example.org:4242#", fragment, check);
}

TEST(JoinStringTest, CarriesTheBundlesDigest) {
  JoinString join = Sample();
  join.bundle = std::string(32, '\x01');
  const std::string text = Formatted(join);
  EXPECT_TRUE(absl::StrContains(text, absl::StrCat(kToken, ".bundle~AQEB"))) << text;
  absl::StatusOr<JoinString> again = ParseJoinString(text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->bundle, join.bundle);
  EXPECT_EQ(again->token, kToken);
  EXPECT_EQ(ParseJoinString(Formatted(Sample()))->bundle, "");
  join.bundle = "short";
  EXPECT_EQ(FormatJoinString(join).status().message(),
            "the join string would have a bundle digest of 5 bytes; it must have 32 or none");
}

TEST(JoinStringTest, PassesOverExtensionsThatItDoesNotKnow) {
  const std::string digest(43, 'A');
  const absl::StatusOr<JoinString> join =
      ParseJoinString(WithFields(absl::StrCat("color~green.bundle~", digest, ".bundles~x..later.")));
  ASSERT_TRUE(join.ok()) << join.status();
  EXPECT_EQ(join->bundle, std::string(32, '\0'));
}

TEST(JoinStringTest, SaysWhatIsWrongWithTheBundle) {
  const std::string digest(43, 'A');
  for (const std::string& bad : {std::string(), std::string(42, 'A'), std::string(44, 'A'), digest + "="}) {
    EXPECT_EQ(Complaint(WithFields(absl::StrCat("bundle~", bad, "."))),
              absl::StrCat("the join string has a bundle digest of ", bad.size(),
                           " characters that is not the 43 characters of a SHA-256: copy the whole string again"));
  }
  EXPECT_EQ(Complaint(WithFields(absl::StrCat("bundle~", digest, ".bundle~", digest, "."))),
            "the join string names two bundles where one is allowed: copy the whole string again");
}

TEST(JoinStringTest, EveryCutIsRecognised) {
  const std::string text = Formatted(Sample());
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(ParseJoinString(text.substr(0, length)).ok()) << length;
    if (length > 0) {
      EXPECT_FALSE(ParseJoinString(text.substr(length)).ok()) << length;
    }
  }
  EXPECT_EQ(Complaint(text.substr(0, text.size() - 1)),
            "the join string is cut short at its end: copy the whole string again");
  EXPECT_EQ(Complaint(text.substr(0, text.find('#'))),
            "the join string has no '#' and so no token: it is cut short, copy the whole string again (in a shell, in "
            "quotes)");
}

TEST(JoinStringTest, EveryMistypedCharacterOfTheFragmentIsRecognised) {
  const std::string text = Formatted(Sample());
  for (size_t i = text.find('#') + 1; i < text.size(); ++i) {
    std::string wrong = text;
    wrong[i] = wrong[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(ParseJoinString(wrong).ok()) << i;
  }
}

TEST(JoinStringTest, AddressesMayBeEditedByHand) {
  std::string text = Formatted(Sample());
  text.replace(10, text.find('#') - 10, "localhost:9");
  absl::StatusOr<JoinString> join = ParseJoinString(text);
  ASSERT_TRUE(join.ok()) << join.status();
  EXPECT_EQ(join->addresses, std::vector<std::string>{"localhost:9"});
}

TEST(JoinStringTest, SaysWhichAddressIsWrong) {
  const std::string text = Formatted(Sample());
  const std::string fragment = text.substr(text.find('#'));
  auto complaint = [&](const std::string& addresses) {
    return Complaint(absl::StrCat("potluck://", addresses, fragment));
  };
  EXPECT_EQ(complaint("a:1,b"), "the join string has the address 'b' without a port; write host:port");
  EXPECT_EQ(complaint("[::1]"), "the join string has the address '[::1]' without a port; write host:port");
  EXPECT_EQ(complaint("a:0"), "the join string has the port '0'; a port is a number from 1 to 65535");
  EXPECT_EQ(complaint("a:65536"), "the join string has the port '65536'; a port is a number from 1 to 65535");
  EXPECT_EQ(complaint("a:+1"), "the join string has the port '+1'; a port is a number from 1 to 65535");
  EXPECT_EQ(complaint("300.1.1.1:1"),
            "the join string has the host '300.1.1.1', which is neither a host name nor an IP address");
  EXPECT_EQ(complaint("[::x]:1"),
            "the join string has the host '[::x]', which is neither a host name nor an IP address");
  EXPECT_EQ(complaint("::1:4242"),
            "the join string has the address '::1:4242'; an IPv6 address stands in brackets, as in [::1]:4242");
  EXPECT_EQ(complaint(""), "the join string has the address '' without a port; write host:port");
  EXPECT_EQ(Complaint("https://a:1#x"), "the join string does not begin with potluck:// : copy the whole string again");
}

TEST(JoinStringTest, NewerVersionAsksForAnUpdate) {
  EXPECT_EQ(Complaint("potluck://a:1#2.anything.at-all"),
            "the join string is of version 2 and this program reads version 1: update potluck");
}

TEST(JoinStringTest, NoMessageHoldsTheToken) {
  const std::string text = Formatted(Sample());
  std::vector<std::string> spoiled = {text + "x",
                                      text.substr(1),
                                      text.substr(12),
                                      absl::StrCat("potluck://", kToken, "#1.a.b"),
                                      absl::StrCat("potluck://a:", kToken, "#1.a.b"),
                                      text.substr(text.find('#') + 1)};
  for (size_t i = 0; i < text.size(); ++i) spoiled.push_back(text.substr(0, i) + " " + text.substr(i + 1));
  for (const std::string& bad : spoiled) {
    for (const absl::Status& status : {ParseJoinString(bad).status(), LoadJoinString(bad).status()}) {
      EXPECT_FALSE(absl::StrContains(status.message(), absl::string_view(kToken).substr(0, 22))) << status.message();
    }
  }
}

TEST(JoinStringTest, RefusesToWriteWhatCannotBeReadBack) {
  JoinString join = Sample();
  join.pin = "short";
  EXPECT_EQ(FormatJoinString(join).status().message(),
            "the join string would have a key pin of 5 bytes; it must have 32 or none");
  join = Sample();
  join.token = "has.dot.has.dot.has.dot.has";
  EXPECT_FALSE(FormatJoinString(join).ok());
  join = Sample();
  join.addresses.clear();
  EXPECT_FALSE(FormatJoinString(join).ok());
}

TEST(JoinStringTest, IsLoadedFromAFileOrAnArgument) {
  const std::string text = Formatted(Sample());
  const std::string path = TemporaryFile(text + "\n");
  for (const std::string& argument : {text, path}) {
    absl::StatusOr<JoinString> join = LoadJoinString(argument);
    ASSERT_TRUE(join.ok()) << join.status();
    EXPECT_EQ(join->token, kToken);
  }
  std::remove(path.c_str());
}

TEST(JoinStringTest, SaysWhatIsWrongWithTheFile) {
  EXPECT_EQ(LoadJoinString("no/such/file").status().message(),
            "cannot read the file 'no/such/file': give a join string (potluck://...), a file that holds one, or - for "
            "standard input");
  const std::string path = TemporaryFile(" \n");
  EXPECT_TRUE(absl::StrContains(LoadJoinString(path).status().message(), "is empty")) << LoadJoinString(path).status();
  std::remove(path.c_str());
  EXPECT_FALSE(LoadJoinString(testing::TempDir()).ok());
}

TEST(JoinStringTest, CertificatePinRefusesWhatIsNoCertificate) {
  EXPECT_EQ(CertificatePin("not PEM").status().message(), "the certificate is not readable PEM");
}

}  // namespace
}  // namespace potluck
