#include "base/sha256.h"

#include <openssl/evp.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/escaping.h"

namespace potluck {
namespace {

[[noreturn]] void Fail() {
  std::fputs("OpenSSL has no SHA-256 here; install an OpenSSL 3 with its default provider\n", stderr);
  std::abort();
}

// Fetching looks through the providers each time, which costs more than hashing a small payload: done once.
const EVP_MD* FetchedSha256() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (md == nullptr) Fail();
  return md;
}

struct Context {
  Context() : context(EVP_MD_CTX_new()) {}
  ~Context() { EVP_MD_CTX_free(context); }
  EVP_MD_CTX* context;
};

}  // namespace

std::string Sha256(absl::string_view bytes) {
  thread_local const Context context;
  std::string digest(kSha256Bytes, '\0');
  unsigned length = 0;
  const bool ok = context.context != nullptr && EVP_DigestInit_ex2(context.context, FetchedSha256(), nullptr) == 1 &&
                  EVP_DigestUpdate(context.context, bytes.data(), bytes.size()) == 1 &&
                  EVP_DigestFinal_ex(context.context, reinterpret_cast<unsigned char*>(digest.data()), &length) == 1;
  if (!ok || length != kSha256Bytes) Fail();
  return digest;
}

struct Sha256Stream::Impl {
  Context so_far;
  Context copy;  // Reading a digest ends a context.
};

Sha256Stream::Sha256Stream() : impl_(std::make_unique<Impl>()) {
  const bool ok = impl_->so_far.context != nullptr && impl_->copy.context != nullptr &&
                  EVP_DigestInit_ex2(impl_->so_far.context, FetchedSha256(), nullptr) == 1;
  if (!ok) Fail();
}

Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::Add(absl::string_view bytes) {
  if (EVP_DigestUpdate(impl_->so_far.context, bytes.data(), bytes.size()) != 1) Fail();
}

std::string Sha256Stream::Digest() const {
  std::string digest(kSha256Bytes, '\0');
  unsigned length = 0;
  const bool ok =
      EVP_MD_CTX_copy_ex(impl_->copy.context, impl_->so_far.context) == 1 &&
      EVP_DigestFinal_ex(impl_->copy.context, reinterpret_cast<unsigned char*>(digest.data()), &length) == 1;
  if (!ok || length != kSha256Bytes) Fail();
  return digest;
}

std::string HexDigest(absl::string_view digest) { return absl::BytesToHexString(digest); }

bool ParseHexDigest(absl::string_view hex, std::string& digest) {
  if (hex.size() != 2 * kSha256Bytes) return false;
  for (const char c : hex) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  digest = absl::HexStringToBytes(hex);
  return true;
}

}  // namespace potluck
