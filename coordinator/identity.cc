#include "coordinator/identity.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/join_string.h"

namespace potluck {
namespace {

using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using CertificatePtr = std::unique_ptr<X509, decltype(&X509_free)>;
using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr int kCertificateYears = 20;
constexpr size_t kMaxPemBytes = 64 * 1024;

absl::Status FileError(absl::string_view doing, const std::string& path, int error) {
  return absl::UnavailableError(absl::StrCat("cannot ", doing, " ", path, ": ", strerror(error)));
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return length > 0 ? std::string(data, static_cast<size_t>(length)) : std::string();
}

BioPtr ReadOnly(absl::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
}

// No password is ever asked for: a key with one is unreadable here.
int NoPassword(char*, int, int, void*) { return -1; }

KeyPtr ParseKey(absl::string_view pem) {
  BioPtr bio = ReadOnly(pem);
  return KeyPtr(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassword, nullptr) : nullptr, &EVP_PKEY_free);
}

CertificatePtr ParseCertificate(absl::string_view pem) {
  BioPtr bio = ReadOnly(pem);
  return CertificatePtr(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr, &X509_free);
}

absl::StatusOr<std::string> NewKey() {
  KeyPtr key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  BioPtr bio(BIO_new(BIO_s_secmem()), &BIO_free);
  if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return absl::InternalError("OpenSSL could not make a server key");
  }
  return Contents(bio.get());
}

bool AddExtension(X509* certificate, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  const bool added = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool SetSerialNumber(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] &= 0x7f;  // Positive.
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool set = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return set;
}

absl::StatusOr<std::string> NewCertificate(absl::string_view key_pem, absl::Time now) {
  KeyPtr key = ParseKey(key_pem);
  CertificatePtr certificate(X509_new(), &X509_free);
  BioPtr bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (!key || !certificate || !bio) return absl::InternalError("OpenSSL could not make a certificate");
  X509* x509 = certificate.get();
  // A day back, so that a worker whose clock is behind does not refuse it.
  const time_t begin = absl::ToTimeT(now - absl::Hours(24));
  const time_t end = absl::ToTimeT(now + kCertificateYears * absl::Hours(24 * 365.25));
  X509_NAME* name = X509_get_subject_name(x509);
  const auto* common_name = reinterpret_cast<const unsigned char*>("potluck coordinator");
  const bool made = X509_set_version(x509, 2) == 1 && SetSerialNumber(x509) &&
                    ASN1_TIME_set(X509_getm_notBefore(x509), begin) != nullptr &&
                    ASN1_TIME_set(X509_getm_notAfter(x509), end) != nullptr && X509_set_pubkey(x509, key.get()) == 1 &&
                    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0) == 1 &&
                    X509_set_issuer_name(x509, name) == 1 &&
                    AddExtension(x509, NID_basic_constraints, "critical,CA:FALSE") &&
                    AddExtension(x509, NID_key_usage, "critical,digitalSignature") &&
                    AddExtension(x509, NID_ext_key_usage, "serverAuth") &&
                    AddExtension(x509, NID_subject_alt_name, "DNS:potluck,DNS:localhost,IP:127.0.0.1,IP:::1") &&
                    X509_sign(x509, key.get(), EVP_sha256()) > 0 && PEM_write_bio_X509(bio.get(), x509) == 1;
  if (!made) return absl::InternalError("OpenSSL could not make a certificate");
  return Contents(bio.get());
}

// Checks that the two belong together. `key_file` and `certificate_file` are for the message.
absl::StatusOr<Identity> Assemble(std::string key_pem, std::string certificate_pem, const std::string& key_file,
                                  const std::string& certificate_file) {
  KeyPtr key = ParseKey(key_pem);
  if (!key) {
    return absl::DataLossError(absl::StrCat(key_file, " is damaged: put back a copy, or remove it and ",
                                            certificate_file,
                                            " to make a new key (every join string given out is then void)"));
  }
  CertificatePtr certificate = ParseCertificate(certificate_pem);
  if (!certificate) {
    return absl::DataLossError(
        absl::StrCat(certificate_file, " is damaged: remove it, and it is made anew from ", key_file));
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return absl::DataLossError(
        absl::StrCat(certificate_file, " does not belong to ", key_file,
                     ": put back the right copy, or remove the certificate and it is made anew"));
  }
  absl::StatusOr<std::string> pin = Pin(certificate_pem);
  if (!pin.ok()) return pin.status();
  return Identity{std::move(key_pem), std::move(certificate_pem), *std::move(pin)};
}

// Nothing if there is no such file. Takes away what others may do with it.
absl::StatusOr<std::optional<std::string>> ReadSecretFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0 && errno == ENOENT) return std::optional<std::string>();
  if (file < 0) return FileError("read", path, errno);
  struct stat info;
  if (fstat(file, &info) == 0 && (info.st_mode & 077) != 0) (void)fchmod(file, 0600);
  std::string text(kMaxPemBytes, '\0');
  size_t length = 0;
  ssize_t got = 0;
  while (length < text.size() && (got = read(file, text.data() + length, text.size() - length)) > 0) {
    length += static_cast<size_t>(got);
  }
  const int error = errno;
  close(file);
  if (got < 0) return FileError("read", path, error);
  text.resize(length);
  return std::optional<std::string>(std::move(text));
}

int WriteAll(int file, absl::string_view content) {
  while (!content.empty()) {
    const ssize_t written = write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0 ? 0 : errno;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A rename is durable only once its directory is.
absl::Status SyncDirectory(const std::string& directory) {
  const int file = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return FileError("open the directory", directory, errno);
  const int error = fsync(file) == 0 ? 0 : errno;
  close(file);
  // Some file systems cannot sync a directory; they have nothing better to offer.
  if (error != 0 && error != EINVAL && error != ENOTSUP) return FileError("sync the directory", directory, error);
  return absl::OkStatus();
}

// The length of the UTF-8 sequence at the front and its code point; 0 if it is not UTF-8.
size_t DecodeUtf8(absl::string_view text, uint32_t& code_point) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  const size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  code_point = length == 1 ? lead : lead & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 0;
    code_point = code_point << 6 | (byte(i) & 0x3fu);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  return code_point < kSmallest[length] || code_point > 0x10ffff || surrogate ? 0 : length;
}

// Control characters, and the marks that reorder or hide text in a terminal or on a page.
bool IsControl(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

}  // namespace

absl::StatusOr<std::string> Pin(absl::string_view certificate_pem) { return CertificatePin(certificate_pem); }

absl::StatusOr<Identity> Identity::Create(absl::Time now) {
  absl::StatusOr<std::string> key = NewKey();
  if (!key.ok()) return key.status();
  absl::StatusOr<std::string> certificate = NewCertificate(*key, now);
  if (!certificate.ok()) return certificate.status();
  return Assemble(*std::move(key), *std::move(certificate), "the new key", "the new certificate");
}

absl::StatusOr<Identity> Identity::LoadOrCreate(const std::string& directory, absl::Time now) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return FileError("make the directory", directory, errno);
  const std::string key_file = directory + "/key.pem", certificate_file = directory + "/certificate.pem";
  absl::StatusOr<std::optional<std::string>> key = ReadSecretFile(key_file);
  if (!key.ok()) return key.status();
  absl::StatusOr<std::optional<std::string>> certificate = ReadSecretFile(certificate_file);
  if (!certificate.ok()) return certificate.status();
  if (!key->has_value() && certificate->has_value()) {
    return absl::DataLossError(
        absl::StrCat(key_file, " is missing beside ", certificate_file, ": put back a copy, or ",
                     "remove the certificate to make a new key (every join string given out is then void)"));
  }
  if (!key->has_value()) {
    absl::StatusOr<std::string> made = NewKey();
    if (!made.ok()) return made.status();
    // The key first: after a crash between the two, the certificate is made from it and the pin stays.
    if (absl::Status status = WriteSecretFile(key_file, *made); !status.ok()) return status;
    *key = *std::move(made);
  }
  if (!certificate->has_value() && ParseKey(**key)) {
    absl::StatusOr<std::string> made = NewCertificate(**key, now);
    if (!made.ok()) return made.status();
    if (absl::Status status = WriteSecretFile(certificate_file, *made); !status.ok()) return status;
    *certificate = *std::move(made);
  }
  return Assemble(**std::move(key), (*std::move(certificate)).value_or(""), key_file, certificate_file);
}

absl::Status WriteSecretFile(const std::string& path, absl::string_view content) {
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("will not write a secret to ", path, ": it is ",
                                                      S_ISLNK(info.st_mode) ? "a symbolic link" : "not a plain file"));
  }
  // mkostemp makes the file anew (O_EXCL), with mode 0600, in the directory where the rename is atomic.
  std::string temporary = path + ".XXXXXX";
  const int file = mkostemp(temporary.data(), O_CLOEXEC);
  if (file < 0) return FileError("write", path, errno);
  int error = WriteAll(file, content);
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0 && rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    unlink(temporary.c_str());
    return FileError("write", path, error);
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::StatusOr<std::string> NewSecret() {
  unsigned char bytes[24];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return absl::InternalError("the system gives no random numbers");
  std::string text;
  absl::WebSafeBase64Escape(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof bytes), &text);
  OPENSSL_cleanse(bytes, sizeof bytes);
  return text;
}

absl::Status ValidateName(absl::string_view name) {
  constexpr size_t kMaxCharacters = 64;
  size_t characters = 0;
  for (absl::string_view rest = name; !rest.empty(); ++characters) {
    uint32_t code_point = 0;
    const size_t length = DecodeUtf8(rest, code_point);
    if (length == 0) return absl::InvalidArgumentError("the name is not valid UTF-8");
    if (IsControl(code_point)) {
      return absl::InvalidArgumentError(absl::StrCat("the name has a control character at place ", characters + 1,
                                                     "; use printable characters only"));
    }
    rest.remove_prefix(length);
  }
  if (characters < 1 || characters > kMaxCharacters) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name has ", characters, " characters; it must have 1 to ", kMaxCharacters));
  }
  return absl::OkStatus();
}

}  // namespace potluck
