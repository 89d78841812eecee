// The TLS step of cli/doctor_connection.h, by OpenSSL.
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "cli/doctor_connection.h"
#include "worker/child_process.h"

namespace potluck {
namespace {

constexpr size_t kMostHttp = 16 * 1024;

struct Freed {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* tls) const { SSL_free(tls); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};

bool Wait(int fd, short event, absl::Time deadline) {
  pollfd watched{fd, event, 0};
  int ready = 0;
  do {
    ready = poll(&watched, 1, PollMilliseconds(std::max(absl::ZeroDuration(), deadline - AwakeNow())));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

// A program that was built elsewhere may look for the roots in the wrong place.
void LoadRoots(SSL_CTX* context) {
  SSL_CTX_set_default_verify_paths(context);
  const char* given = std::getenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
  for (const char* file : {given == nullptr ? "" : given, "/etc/ssl/certs/ca-certificates.crt",
                           "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    std::error_code error;
    if (*file != '\0' && std::filesystem::exists(file, error)) SSL_CTX_load_verify_locations(context, file, nullptr);
  }
  ERR_clear_error();
}

std::string NameText(const X509_NAME* name) {
  char text[256] = {};
  X509_NAME_oneline(name, text, sizeof text - 1);
  return text;
}

absl::StatusOr<TlsPeer> Describe(SSL* tls) {
  const std::unique_ptr<X509, Freed> certificate(SSL_get1_peer_certificate(tls));
  if (certificate == nullptr) return absl::AbortedError("the server shows no certificate");
  TlsPeer peer;
  peer.version = SSL_get_version(tls);
  const unsigned char* alpn = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(tls, &alpn, &length);
  if (length > 0) peer.alpn.assign(reinterpret_cast<const char*>(alpn), length);
  unsigned char* key = nullptr;
  const int key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &key);
  if (key_length > 0) {
    peer.pin = Sha256(absl::string_view(reinterpret_cast<const char*>(key), static_cast<size_t>(key_length)));
    OPENSSL_free(key);
  }
  peer.subject = NameText(X509_get_subject_name(certificate.get()));
  peer.issuer = NameText(X509_get_issuer_name(certificate.get()));
  if (const long verdict = SSL_get_verify_result(tls); verdict != X509_V_OK) {
    peer.trusted = absl::PermissionDeniedError(X509_verify_cert_error_string(verdict));
  }
  return peer;
}

absl::Status HungUp() { return absl::UnavailableError("it hangs up in the TLS handshake"); }

// Looks at the first bytes of an answer without taking them: Ok if they may be TLS.
absl::Status PeekAtAnswer(int fd, absl::Time deadline, std::optional<HttpAnswer>* http_answer) {
  if (!Wait(fd, POLLIN, deadline)) return absl::DeadlineExceededError("nothing answers the TLS handshake");
  char bytes[2048];
  const ssize_t got = recv(fd, bytes, sizeof bytes, MSG_PEEK);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return HungUp();
  if (got < 0 || bytes[0] == 0x16 || bytes[0] == 0x15) return absl::OkStatus();  // A handshake, or an alert.
  if (http_answer != nullptr) *http_answer = ParseHttpAnswer({bytes, static_cast<size_t>(got)});
  return absl::FailedPreconditionError("what answers does not speak TLS");
}

absl::Status Failure() {
  const unsigned long error = ERR_peek_last_error();
  const char* words = ERR_reason_error_string(error);
  if (words == nullptr) return HungUp();
  return absl::AbortedError(absl::StrCat("the TLS handshake fails: ", words));
}

// One client's side of one TLS connection.
class TlsClient {
 public:
  static absl::StatusOr<TlsClient> Create(const Socket& socket, const std::string& host, const std::string& protocol) {
    ERR_clear_error();
    TlsClient client(socket);
    client.context_.reset(SSL_CTX_new(TLS_client_method()));
    if (client.context_ != nullptr) client.tls_.reset(SSL_new(client.context_.get()));
    SSL* const tls = client.tls_.get();
    if (tls == nullptr) return absl::InternalError("OpenSSL has no memory");
    // It sends, but is given nothing to read before the first bytes were looked at.
    SSL_set0_wbio(tls, BIO_new_socket(socket.fd(), BIO_NOCLOSE));
    SSL_set0_rbio(tls, BIO_new(BIO_s_mem()));
    LoadRoots(client.context_.get());
    SSL_set_min_proto_version(tls, TLS1_2_VERSION);  // What is older than ours shall still be named.
    const std::string alpn = absl::StrCat(std::string(1, static_cast<char>(protocol.size())), protocol);
    SSL_set_alpn_protos(tls, reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned int>(alpn.size()));
    in6_addr ignored{};
    if (inet_pton(AF_INET, host.c_str(), &ignored) == 1 || inet_pton(AF_INET6, host.c_str(), &ignored) == 1) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str());
    } else {
      SSL_set_tlsext_host_name(tls, host.c_str());
      SSL_set1_host(tls, host.c_str());
    }
    return client;
  }

  absl::Status Handshake(absl::Time deadline, std::optional<HttpAnswer>* http_answer) {
    bool has_answered = false;
    const auto before_reading = [&]() -> absl::Status {
      if (std::exchange(has_answered, true)) return absl::OkStatus();
      if (absl::Status status = PeekAtAnswer(fd_, deadline, http_answer); !status.ok()) return status;
      SSL_set0_rbio(tls_.get(), BIO_new_socket(fd_, BIO_NOCLOSE));
      return absl::OkStatus();
    };
    return Repeat([this] { return SSL_connect(tls_.get()); }, deadline, before_reading);
  }

  // Until the end of an HTTP header, or of the connection.
  std::string Ask(const std::string& request, absl::Time deadline) {
    const auto nothing = [] { return absl::OkStatus(); };
    const auto write = [&] { return SSL_write(tls_.get(), request.data(), static_cast<int>(request.size())); };
    if (!Repeat(write, deadline, nothing).ok()) return "";
    std::string answer;
    char buffer[4096];
    int got = 0;
    const auto read = [&] { return got = SSL_read(tls_.get(), buffer, sizeof buffer); };
    while (answer.size() < kMostHttp && answer.find("\r\n\r\n") == std::string::npos &&
           Repeat(read, deadline, nothing).ok()) {
      answer.append(buffer, static_cast<size_t>(got));
    }
    return answer;
  }

  SSL* tls() const { return tls_.get(); }

 private:
  explicit TlsClient(const Socket& socket) : fd_(socket.fd()) {}

  // Calls `step` until it is done, waiting for the socket in between.
  absl::Status Repeat(const std::function<int()>& step, absl::Time deadline,
                      const std::function<absl::Status()>& before_reading) {
    while (true) {
      const int result = step();
      if (result > 0) return absl::OkStatus();
      const int reason = SSL_get_error(tls_.get(), result);
      if (reason == SSL_ERROR_SYSCALL) return HungUp();
      if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) return Failure();
      if (reason == SSL_ERROR_WANT_READ) {
        if (absl::Status status = before_reading(); !status.ok()) return status;
      }
      if (!Wait(fd_, reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline)) {
        return absl::DeadlineExceededError("the TLS handshake stands still");
      }
    }
  }

  const int fd_;
  std::unique_ptr<SSL_CTX, Freed> context_;
  std::unique_ptr<SSL, Freed> tls_;
};

}  // namespace

absl::StatusOr<TlsPeer> TlsHandshake(const Socket& socket, const std::string& host, const std::string& protocol,
                                     absl::Duration limit, std::optional<HttpAnswer>* http_answer) {
  const absl::Time deadline = AwakeNow() + limit;
  absl::StatusOr<TlsClient> client = TlsClient::Create(socket, host, protocol);
  if (!client.ok()) return client.status();
  if (absl::Status status = client->Handshake(deadline, http_answer); !status.ok()) return status;
  return Describe(client->tls());
}

std::optional<HttpAnswer> AskHttps(const Socket& socket, const std::string& host, absl::Duration limit) {
  const absl::Time deadline = AwakeNow() + limit;
  absl::StatusOr<TlsClient> client = TlsClient::Create(socket, host, "http/1.1");
  if (!client.ok() || !client->Handshake(deadline, nullptr).ok()) return std::nullopt;
  return ParseHttpAnswer(
      client->Ask(absl::StrCat("GET / HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n\r\n"), deadline));
}

}  // namespace potluck
