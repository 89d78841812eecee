#include "coordinator/client_hello.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

using State = ClientHello::State;

std::string Number(size_t value, int width) {
  std::string text;
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xff);
  return text;
}

std::string Vector(const std::string& content, int length_width) {
  return Number(content.size(), length_width) + content;
}

std::string Extension(int type, const std::string& data) {
  return Number(static_cast<size_t>(type), 2) + Vector(data, 2);
}

std::string Alpn(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += Vector(name, 1);
  return Extension(16, Vector(list, 2));
}

const std::string kTls13And12 = Extension(43, Vector("\x03\x04\x03\x03", 1));
const std::string kServerName = Extension(0, Vector(Number(0, 1) + Vector("lab.example.org", 2), 2));

std::string Message(const std::string& extensions) {
  const std::string body = Number(0x0303, 2) + std::string(32, 'r') + Vector(std::string(32, 's'), 1) +
                           Vector(std::string("\x13\x01", 2), 2) + Vector(std::string(1, '\0'), 1) +
                           (extensions.empty() ? "" : Vector(extensions, 2));
  return Number(1, 1) + Vector(body, 3);
}

// Spreads the message over records of at most `record` bytes.
std::string Records(const std::string& message, size_t record = 1 << 14) {
  std::string bytes;
  for (size_t i = 0; i < message.size(); i += record) {
    bytes += std::string("\x16\x03\x01", 3) + Vector(message.substr(i, record), 2);
  }
  return bytes;
}

std::string Describe(const ClientHello& hello) {
  if (hello.state == State::kNotTls) return "not TLS";
  if (hello.state == State::kNeedsMore) return absl::StrCat("needs ", hello.needed);
  return absl::StrCat("tls13=", hello.offers_tls13, " alpn=", absl::StrJoin(hello.alpn, ","),
                      " sni=", hello.server_name);
}

TEST(ClientHelloTest, ReadsWhatIsOffered) {
  const std::string message = Message(kServerName + Extension(0x0a0a, "") + Alpn({"h2", "http/1.1"}) + kTls13And12);
  for (size_t record : {size_t{1} << 14, size_t{100}, size_t{7}, size_t{1}}) {
    EXPECT_EQ(Describe(ParseClientHello(Records(message, record))), "tls13=1 alpn=h2,http/1.1 sni=lab.example.org")
        << record;
  }
}

TEST(ClientHelloTest, WithoutExtensionsOffersNothing) {
  EXPECT_EQ(Describe(ParseClientHello(Records(Message("")))), "tls13=0 alpn= sni=");
  EXPECT_EQ(Describe(ParseClientHello(Records(Message(Extension(43, Vector("\x03\x03", 1)))))), "tls13=0 alpn= sni=");
}

TEST(ClientHelloTest, BytesAfterTheHelloDoNotMatter) {
  const std::string bytes = Records(Message(Alpn({"h2"}) + kTls13And12)) + "early data";
  EXPECT_EQ(Describe(ParseClientHello(bytes)), "tls13=1 alpn=h2 sni=");
}

TEST(ClientHelloTest, EveryBeginningAsksForMoreThanItHasAndNoMoreThanThereIs) {
  const std::string message = Message(kServerName + Alpn({"h2"}) + kTls13And12);
  for (size_t record : {size_t{1} << 14, size_t{50}, size_t{1}}) {
    const std::string bytes = Records(message, record);
    for (size_t length = 0; length < bytes.size(); ++length) {
      const ClientHello hello = ParseClientHello(bytes.substr(0, length));
      ASSERT_EQ(hello.state, State::kNeedsMore) << record << " " << length << " " << Describe(hello);
      ASSERT_GT(hello.needed, length);
      ASSERT_LE(hello.needed, bytes.size());
    }
  }
}

TEST(ClientHelloTest, AHelloOfSixteenKibibytesIsReadAndALongerOneRefused) {
  const std::string rest = Alpn({"h2"}) + kTls13And12;
  const size_t fixed = Message(rest + Extension(21, "")).size();
  const std::string largest = Message(rest + Extension(21, std::string(kMaxClientHello - fixed, '\0')));
  ASSERT_EQ(largest.size(), kMaxClientHello);
  EXPECT_EQ(Describe(ParseClientHello(Records(largest))), "tls13=1 alpn=h2 sni=");
  EXPECT_EQ(Describe(ParseClientHello(Records(largest, 1400))), "tls13=1 alpn=h2 sni=");
  const std::string larger = Message(rest + Extension(21, std::string(kMaxClientHello - fixed + 1, '\0')));
  EXPECT_EQ(Describe(ParseClientHello(Records(larger).substr(0, 9))), "not TLS");
}

TEST(ClientHelloTest, OtherProtocolsAreRecognisedAtOnce) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n"), std::string("SSH-2.0-OpenSSH"), std::string("\x16\x02", 2),
        std::string(1, '\0'), std::string("\x17\x03\x03\x00\x01x", 6), std::string("\x16\x03\x01\x00\x00", 5),
        std::string("\x16\x03\x01\x00\x01\x02", 6), std::string("\x16\x03\x01\x40\x01", 5),
        std::string("\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9)}) {
    EXPECT_EQ(Describe(ParseClientHello(bytes)), "not TLS") << bytes;
  }
  EXPECT_EQ(Describe(ParseClientHello("")), "needs 5");
}

TEST(ClientHelloTest, DamagedExtensionsAreRefused) {
  for (const std::string& extensions :
       {Extension(16, "\x7f"), Extension(16, Vector("\x05h2", 2)), Extension(43, "\x09\x03\x04"),
        Extension(43, Vector("\x03", 1)), Extension(0, Vector(Number(0, 1) + "\xff\xff", 2)), std::string("\x01", 1)}) {
    EXPECT_EQ(Describe(ParseClientHello(Records(Message(extensions)))), "not TLS");
  }
}

// A property of any bytes: an answer always comes, and `needed` leads to an end.
void CheckAnswer(const std::string& bytes) {
  const ClientHello hello = ParseClientHello(bytes);
  if (hello.state != State::kNeedsMore) return;
  ASSERT_GT(hello.needed, bytes.size());
  ASSERT_LE(hello.needed, kMaxClientHelloBytes);
}

TEST(ClientHelloTest, SurvivesRandomAndDamagedBytes) {
  std::mt19937 random(20180813);
  const std::string good = Message(kServerName + Alpn({"h2", "http/1.1"}) + kTls13And12);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bytes;
    if (trial % 2 == 0) {
      bytes.resize(random() % 300);
      for (char& c : bytes) c = static_cast<char>(random());
      const std::string start("\x16\x03\x01\x00\x80\x01\x00\x00\x7c", 9);
      bytes.replace(0, std::min(bytes.size(), start.size()), start, 0, random() % (start.size() + 1));
    } else {
      bytes = Records(good, 1 + random() % 400);
      for (uint32_t flips = random() % 4 + 1; flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      bytes.resize(random() % (bytes.size() + 1));
    }
    ASSERT_NO_FATAL_FAILURE(CheckAnswer(bytes)) << "trial " << trial;
  }
}

}  // namespace
}  // namespace potluck
