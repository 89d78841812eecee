#include "coordinator/client_hello.h"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace potluck {
namespace {

constexpr uint8_t kHandshakeRecord = 22;
constexpr uint8_t kClientHelloMessage = 1;
constexpr size_t kRecordHeader = 5;
constexpr size_t kMessageHeader = 4;
constexpr size_t kMaxRecord = 1 << 14;
constexpr uint16_t kServerNameExtension = 0;
constexpr uint16_t kAlpnExtension = 16;
constexpr uint16_t kSupportedVersionsExtension = 43;
constexpr uint16_t kTls13 = 0x0304;

uint8_t ByteAt(absl::string_view bytes, size_t i) { return static_cast<uint8_t>(bytes[i]); }

// Takes big-endian numbers and length-prefixed vectors off the front. Once something was missing, everything is.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }

  absl::string_view Bytes(size_t count) {
    if (!ok_ || rest_.size() < count) {
      ok_ = false;
      return {};
    }
    const absl::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  size_t Number(size_t width) {
    size_t value = 0;
    for (char c : Bytes(width)) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }

  absl::string_view Vector(size_t length_width) { return Bytes(Number(length_width)); }

 private:
  absl::string_view rest_;
  bool ok_ = true;
};

bool ReadAlpn(absl::string_view data, ClientHello& hello) {
  Reader extension(data);
  Reader names(extension.Vector(2));
  while (extension.ok() && names.ok() && !names.empty()) {
    const absl::string_view name = names.Vector(1);
    if (names.ok() && !name.empty()) hello.alpn.emplace_back(name);
  }
  return extension.ok() && names.ok();
}

bool ReadSupportedVersions(absl::string_view data, ClientHello& hello) {
  Reader extension(data);
  Reader versions(extension.Vector(1));
  while (extension.ok() && versions.ok() && !versions.empty()) {
    if (versions.Number(2) == kTls13 && versions.ok()) hello.offers_tls13 = true;
  }
  return extension.ok() && versions.ok();
}

bool ReadServerName(absl::string_view data, ClientHello& hello) {
  Reader extension(data);
  Reader names(extension.Vector(2));
  while (extension.ok() && names.ok() && !names.empty()) {
    const size_t type = names.Number(1);
    const absl::string_view name = names.Vector(2);
    if (names.ok() && type == 0 && hello.server_name.empty()) hello.server_name = std::string(name);
  }
  return extension.ok() && names.ok();
}

// `body` is the message without its header. False if it is damaged.
bool ReadBody(absl::string_view body, ClientHello& hello) {
  Reader reader(body);
  reader.Number(2);  // legacy_version
  reader.Bytes(32);  // random
  reader.Vector(1);  // legacy_session_id
  reader.Vector(2);  // cipher_suites
  reader.Vector(1);  // legacy_compression_methods
  if (!reader.ok()) return false;
  if (reader.empty()) return true;  // Before TLS 1.3 extensions may be left out.
  Reader extensions(reader.Vector(2));
  if (!reader.ok() || !reader.empty()) return false;
  while (!extensions.empty()) {
    const size_t type = extensions.Number(2);
    const absl::string_view data = extensions.Vector(2);
    if (!extensions.ok()) return false;
    if (type == kAlpnExtension && !ReadAlpn(data, hello)) return false;
    if (type == kSupportedVersionsExtension && !ReadSupportedVersions(data, hello)) return false;
    if (type == kServerNameExtension && !ReadServerName(data, hello)) return false;
  }
  return true;
}

ClientHello NotTls() {
  ClientHello hello;
  hello.state = ClientHello::State::kNotTls;
  return hello;
}

ClientHello NeedsMore(size_t needed) {
  if (needed > kMaxClientHelloBytes) return NotTls();
  ClientHello hello;
  hello.needed = needed;
  return hello;
}

// The length of the whole message once its header is there; nothing if that cannot be a ClientHello.
std::optional<size_t> MessageLength(absl::string_view message) {
  if (!message.empty() && ByteAt(message, 0) != kClientHelloMessage) return std::nullopt;
  if (message.size() < kMessageHeader) return kMessageHeader;
  Reader header(message.substr(1));
  const size_t length = kMessageHeader + header.Number(3);
  if (length > kMaxClientHello) return std::nullopt;
  return length;
}

// What there is of a record header cannot be wrong yet.
bool MayBeRecordHeader(absl::string_view bytes) {
  return (bytes.empty() || ByteAt(bytes, 0) == kHandshakeRecord) && (bytes.size() < 2 || ByteAt(bytes, 1) == 3);
}

}  // namespace

ClientHello ParseClientHello(absl::string_view bytes) {
  std::string message;  // The records' contents in a row.
  size_t position = 0;
  for (;;) {
    const absl::string_view rest = bytes.substr(position);
    if (!MayBeRecordHeader(rest)) return NotTls();
    if (rest.size() < kRecordHeader) return NeedsMore(position + kRecordHeader);
    Reader reader(rest.substr(3));
    const size_t length = reader.Number(2);
    if (length == 0 || length > kMaxRecord) return NotTls();
    const absl::string_view content = rest.substr(kRecordHeader, length);
    message.append(content.data(), content.size());

    const std::optional<size_t> wanted = MessageLength(message);
    if (!wanted.has_value()) return NotTls();
    if (message.size() >= *wanted && *wanted > kMessageHeader) {
      ClientHello hello;
      if (!ReadBody(absl::string_view(message).substr(kMessageHeader, *wanted - kMessageHeader), hello))
        return NotTls();
      hello.state = ClientHello::State::kComplete;
      return hello;
    }
    if (content.size() < length) {
      // As much of this record as the message still lacks.
      const size_t lacking = std::min(*wanted - std::min(*wanted, message.size()), length - content.size());
      return NeedsMore(bytes.size() + std::max<size_t>(lacking, 1));
    }
    if (*wanted == kMessageHeader && message.size() >= kMessageHeader) return NotTls();  // An empty message.
    position += kRecordHeader + length;
    if (position > kMaxClientHelloBytes) return NotTls();
  }
}

}  // namespace potluck
