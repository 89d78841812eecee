#include "proto/join_string.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <istream>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"

namespace potluck {
namespace {

constexpr absl::string_view kScheme = "potluck://";
constexpr absl::string_view kVersion = "1";
constexpr size_t kMaxAddresses = 16;
constexpr size_t kMaxLength = 8192;
constexpr absl::string_view kBundleExtension = "bundle~";
constexpr size_t kMinToken = 22;  // 128 bits.
constexpr size_t kMaxToken = 128;
constexpr size_t kCheckBytes = 3;
constexpr size_t kCheckLength = 4;

bool IsBase64Url(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }

bool IsBase64Url(absl::string_view text) {
  for (char c : text) {
    if (!IsBase64Url(c)) return false;
  }
  return true;
}

std::string ToBase64Url(absl::string_view bytes) {
  std::string text;
  absl::WebSafeBase64Escape(bytes, &text);
  return text;
}

std::string Checksum(absl::string_view text) { return ToBase64Url(Sha256(text).substr(0, kCheckBytes)); }

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the join string ", what));
}

// A message may hold an address only if there cannot be a piece of a secret in it.
bool MayBeShown(absl::string_view text) {
  size_t run = 0;
  for (char c : text) {
    if (!absl::ascii_isprint(c) || c == '#') return false;
    run = IsBase64Url(c) ? run + 1 : 0;
    if (run >= kMinToken) return false;
  }
  return text.size() <= 200;
}

std::string Shown(absl::string_view text) {
  return MayBeShown(text) ? absl::StrCat("'", text, "'") : std::string("(not shown)");
}

bool IsHostName(absl::string_view host) {
  if (host.empty() || host.size() > 253 || host.front() == '.' || host.front() == '-') return false;
  bool numeric = true;
  for (char c : host) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_') return false;
    if (!absl::ascii_isdigit(c) && c != '.') numeric = false;
  }
  in_addr ipv4;
  return !numeric || inet_pton(AF_INET, std::string(host).c_str(), &ipv4) == 1;
}

bool IsBracketedIpv6(absl::string_view host) {
  if (!absl::ConsumePrefix(&host, "[") || !absl::ConsumeSuffix(&host, "]")) return false;
  in6_addr ipv6;
  return inet_pton(AF_INET6, std::string(host).c_str(), &ipv6) == 1;
}

absl::Status ValidateToken(absl::string_view token) {
  if (token.size() < kMinToken || token.size() > kMaxToken || !IsBase64Url(token)) {
    return Invalid(absl::StrCat("has a token of ", token.size(), " characters; it must have ", kMinToken, " to ",
                                kMaxToken, " letters, digits, '-' or '_': copy the whole string again"));
  }
  return absl::OkStatus();
}

// `what` names the field, which is a SHA-256.
absl::StatusOr<std::string> DecodeDigest(absl::string_view what, absl::string_view text) {
  std::string digest;
  // Encoding again refuses what the decoder is lenient about (padding, stray bits).
  if (!absl::WebSafeBase64Unescape(text, &digest) || digest.size() != kSha256Bytes || ToBase64Url(digest) != text) {
    return Invalid(absl::StrCat("has a ", what, " of ", text.size(),
                                " characters that is not the 43 characters of a SHA-256: copy the whole string again"));
  }
  return digest;
}

// Those that nobody here knows are passed over.
absl::Status ReadExtension(absl::string_view extension, JoinString& join) {
  if (!absl::ConsumePrefix(&extension, kBundleExtension)) return absl::OkStatus();
  if (!join.bundle.empty()) return Invalid("names two bundles where one is allowed: copy the whole string again");
  absl::StatusOr<std::string> bundle = DecodeDigest("bundle digest", extension);
  if (!bundle.ok()) return bundle.status();
  join.bundle = *std::move(bundle);
  return absl::OkStatus();
}

absl::Status ValidateAddresses(const std::vector<std::string>& addresses) {
  if (addresses.empty() || addresses.size() > kMaxAddresses) {
    return Invalid(absl::StrCat("has ", addresses.size(), " addresses; it must have 1 to ", kMaxAddresses));
  }
  for (const std::string& address : addresses) {
    if (absl::Status status = ValidateAddress(address); !status.ok()) return Invalid(status.message());
  }
  return absl::OkStatus();
}

// `fragment` is what follows the '#'.
absl::Status ParseFragment(absl::string_view fragment, JoinString& join) {
  const size_t last_dot = fragment.rfind('.');
  if (last_dot == absl::string_view::npos || fragment.size() - last_dot - 1 < kCheckLength) {
    return Invalid("is cut short at its end: copy the whole string again");
  }
  const absl::string_view version = fragment.substr(0, fragment.find('.'));
  // Only a number is called a newer version; anything else is damage.
  if (uint32_t number = 0; version != kVersion && absl::SimpleAtoi(version, &number) && number > 1 && number < 1000) {
    return Invalid(absl::StrCat("is of version ", number, " and this program reads version 1: update potluck"));
  }
  if (Checksum(fragment.substr(0, last_dot + 1)) != fragment.substr(last_dot + 1) || version != kVersion) {
    return Invalid("is cut short or mistyped (its checksum does not match): copy the whole string again");
  }
  const std::vector<absl::string_view> fields = absl::StrSplit(fragment.substr(0, last_dot), '.');
  if (fields.size() < 3) return Invalid("lacks its token: copy the whole string again");
  if (!fields[1].empty()) {
    absl::StatusOr<std::string> pin = DecodeDigest("key pin", fields[1]);
    if (!pin.ok()) return pin.status();
    join.pin = *std::move(pin);
  }
  join.token = std::string(fields[2]);
  for (size_t i = 3; i < fields.size(); ++i) {
    if (absl::Status status = ReadExtension(fields[i], join); !status.ok()) return status;
  }
  return ValidateToken(join.token);
}

absl::StatusOr<std::string> ReadBounded(std::istream& in, absl::string_view name) {
  std::string text(kMaxLength + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return absl::UnavailableError(absl::StrCat("the join string could not be read from ", name));
  if (text.size() > kMaxLength) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " holds more than ", kMaxLength, " bytes and so no join string"));
  }
  if (absl::StripAsciiWhitespace(text).empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is empty; a join string was expected there"));
  }
  return text;
}

}  // namespace

absl::Status ValidateAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos || absl::EndsWith(address, "]")) {
    return absl::InvalidArgumentError(
        absl::StrCat("has the address ", Shown(address), " without a port; write host:port"));
  }
  const absl::string_view host = address.substr(0, colon), port = address.substr(colon + 1);
  if (absl::StrContains(host, ':') && !absl::StartsWith(host, "[")) {
    return absl::InvalidArgumentError(
        absl::StrCat("has the address ", Shown(address), "; an IPv6 address stands in brackets, as in [::1]:4242"));
  }
  if (!IsHostName(host) && !IsBracketedIpv6(host)) {
    return absl::InvalidArgumentError(
        absl::StrCat("has the host ", Shown(host), ", which is neither a host name nor an IP address"));
  }
  uint32_t number = 0;
  bool digits = !port.empty() && port.size() <= 5;
  for (char c : port) digits = digits && absl::ascii_isdigit(c);
  if (!digits || !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("has the port ", Shown(port), "; a port is a number from 1 to 65535"));
  }
  return absl::OkStatus();
}

absl::StatusOr<JoinString> ParseJoinString(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.size() > kMaxLength) return Invalid(absl::StrCat("is longer than ", kMaxLength, " characters"));
  if (!absl::ConsumePrefix(&text, kScheme)) {
    return Invalid("does not begin with potluck:// : copy the whole string again");
  }
  const size_t hash = text.find('#');
  if (hash == absl::string_view::npos) {
    return Invalid("has no '#' and so no token: it is cut short, copy the whole string again (in a shell, in quotes)");
  }
  JoinString join;
  join.addresses = absl::StrSplit(text.substr(0, hash), ',');
  if (absl::Status status = ValidateAddresses(join.addresses); !status.ok()) return status;
  if (absl::Status status = ParseFragment(text.substr(hash + 1), join); !status.ok()) return status;
  return join;
}

absl::StatusOr<std::string> FormatJoinString(const JoinString& join) {
  if (absl::Status status = ValidateAddresses(join.addresses); !status.ok()) return status;
  for (const auto& [what, digest] : {std::pair("key pin", &join.pin), std::pair("bundle digest", &join.bundle)}) {
    if (!digest->empty() && digest->size() != kSha256Bytes) {
      return Invalid(absl::StrCat("would have a ", what, " of ", digest->size(), " bytes; it must have ", kSha256Bytes,
                                  " or none"));
    }
  }
  if (absl::Status status = ValidateToken(join.token); !status.ok()) return status;
  std::string fragment = absl::StrCat(kVersion, ".", ToBase64Url(join.pin), ".", join.token, ".");
  if (!join.bundle.empty()) absl::StrAppend(&fragment, kBundleExtension, ToBase64Url(join.bundle), ".");
  return absl::StrCat(kScheme, absl::StrJoin(join.addresses, ","), "#", fragment, Checksum(fragment));
}

absl::StatusOr<JoinString> LoadJoinString(const std::string& argument) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(argument);
  // What looks like a join string is judged as one and never shown, even if its start is missing.
  if (absl::StrContains(trimmed, "://") || absl::StrContains(trimmed, "#") || trimmed.empty()) {
    return ParseJoinString(trimmed);
  }
  std::string name = argument == "-" ? "standard input" : absl::StrCat("the file ", Shown(argument));
  std::ifstream file;
  if (argument != "-") {
    file.open(argument, std::ios::binary);
    if (!file) {
      return absl::NotFoundError(absl::StrCat("cannot read ", name, ": give a join string (potluck://...), ",
                                              "a file that holds one, or - for standard input"));
    }
  }
  absl::StatusOr<std::string> text = ReadBounded(argument == "-" ? std::cin : file, name);
  if (!text.ok()) return text.status();
  absl::StatusOr<JoinString> join = ParseJoinString(*text);
  if (!join.ok()) {
    return absl::Status(join.status().code(), absl::StrCat(join.status().message(), " (read from ", name, ")"));
  }
  return join;
}

absl::StatusOr<std::string> CertificatePin(absl::string_view certificate_pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(certificate_pem.data(), static_cast<int>(certificate_pem.size())), &BIO_free);
  std::unique_ptr<X509, decltype(&X509_free)> certificate(
      bio == nullptr ? nullptr : PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), &X509_free);
  unsigned char* der = nullptr;
  const int length = certificate == nullptr ? -1 : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
  if (length <= 0) return absl::InvalidArgumentError("the certificate is not readable PEM");
  std::string pin = Sha256(absl::string_view(reinterpret_cast<const char*>(der), static_cast<size_t>(length)));
  OPENSSL_free(der);
  return pin;
}

}  // namespace potluck
