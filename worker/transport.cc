#include "worker/transport.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "proto/transport_settings.h"
#include "worker/system_roots.h"
#include "worker/unreachable.h"

namespace potluck {
namespace {

using grpc::experimental::TlsCustomVerificationCheckRequest;

// gRPC does not begin a handshake without an authority, not even where none is asked (verify_server_certs is off), and
// a bare system has none installed. This certificate's key was thrown away: it vouches for nobody.
constexpr char kNoAuthority[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBkDCCATagAwIBAgIBATAKBggqhkjOPQQDAjAmMSQwIgYDVQQDDBtQb3RsdWNr\n"
    "IHRydXN0cyBubyBhdXRob3JpdHkwIBcNMjYxMTIyMDMzMjQ0WhgPMjEyNjEwMjkw\n"
    "MzMyNDRaMCYxJDAiBgNVBAMMG1BvdGx1Y2sgdHJ1c3RzIG5vIGF1dGhvcml0eTBZ\n"
    "MBMGByqGSM49AgEGCCqGSM49AwEHA0IABIU4Ha+RzsQvtpFnv+fUVAf2gFCSYS8m\n"
    "aEAHsuwCE0hjv4wfilrJj3tu9GUllkWGE5xwaz1p1DAi/51ixLlTrxqjUzBRMB0G\n"
    "A1UdDgQWBBT66VuepABi21oS4a1F6Bid1sXVITAfBgNVHSMEGDAWgBT66VuepABi\n"
    "21oS4a1F6Bid1sXVITAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUC\n"
    "IQDkEVoWfM5fijA2+C6QgXDrPBieSS3HF7FHFj/jzzEgXAIgQCxLuz4z5rBeEx06\n"
    "YMfMY9HKgyY4CggJHX1IsKQVY6k=\n"
    "-----END CERTIFICATE-----\n";

// Compares the key of the certificate with the pin. TLS itself has proved by then that the peer holds that key.
class PinVerifier : public grpc::experimental::ExternalCertificateVerifier {
 public:
  PinVerifier(std::string address, std::string pin, std::shared_ptr<KeyCheck> check)
      : address_(std::move(address)), pin_(std::move(pin)), check_(std::move(check)) {}

  bool Verify(TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)> /*callback*/,
              grpc::Status* sync_status) override {
    absl::Status result = Check(absl::string_view(request->peer_cert().data(), request->peer_cert().size()));
    *sync_status =
        result.ok() ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(result.message()));
    check_->Record(std::move(result));
    return true;  // Done at once.
  }

  void Cancel(TlsCustomVerificationCheckRequest* /*request*/) override {}

 private:
  absl::Status Check(absl::string_view certificate_pem) const {
    const absl::StatusOr<std::string> pin = CertificatePin(certificate_pem);
    if (pin.ok() && *pin == pin_) return absl::OkStatus();
    return absl::PermissionDeniedError(
        absl::StrCat("the coordinator at ", address_, " has another key than the join string says: it was set up anew ",
                     "(ask for a new join string), or something between here and there answers in its place"));
  }

  const std::string address_;
  const std::string pin_;
  const std::shared_ptr<KeyCheck> check_;
};

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const std::string& address,
                                                                          const std::string& pin,
                                                                          const std::shared_ptr<KeyCheck>& check) {
  if (pin.empty()) {
    absl::StatusOr<std::string> roots = LoadRoots(SystemRootsPlaces());
    if (!roots.ok()) return roots.status();
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = *std::move(roots);
    return grpc::SslCredentials(options);
  }
  grpc::experimental::TlsChannelCredentialsOptions options;
  // No authority vouches for the certificate and no name is in it: the pin stands for both.
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(kNoAuthority));
  options.watch_root_certs();
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<PinVerifier>(address, pin, check));
  return grpc::experimental::TlsCredentials(options);
}

// What gRPC and OpenSSL say of a certificate that they do not take; gRPC hands it on as text only.
bool IsAboutTheCertificate(absl::string_view message) {
  for (const char* words :
       {"certificate verify failed", "CERTIFICATE_VERIFY_FAILED", "Peer name", "Hostname Verification"}) {
    if (absl::StrContains(message, words)) return true;
  }
  return false;
}

}  // namespace

absl::Status KeyCheck::last() const {
  MutexLock lock(&mutex_);
  return last_;
}

void KeyCheck::Record(absl::Status result) {
  MutexLock lock(&mutex_);
  last_ = std::move(result);
}

bool IsLoopback(absl::string_view address) {
  absl::string_view host = address.substr(0, address.rfind(':'));
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  if (absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]")) {
    in6_addr ipv6{};
    return inet_pton(AF_INET6, std::string(host).c_str(), &ipv6) == 1 && IN6_IS_ADDR_LOOPBACK(&ipv6);
  }
  in_addr ipv4{};
  return inet_pton(AF_INET, std::string(host).c_str(), &ipv4) == 1 && ntohl(ipv4.s_addr) >> 24 == 127;
}

absl::StatusOr<Connection> Connect(const JoinString& join, const ConnectOptions& options) {
  if (options.address >= join.addresses.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the join string has ", join.addresses.size(), " addresses, number ",
                                                   options.address, " (from 0) was asked for"));
  }
  Connection connection;
  connection.address = join.addresses[options.address];
  if (absl::Status status = ValidateAddress(connection.address); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the join string ", status.message()));
  }
  grpc::ChannelArguments arguments;
  SetClientArguments(arguments);
  // Otherwise channels to one address share their sockets and their back-off, those of failed tries included.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC honours grpc_proxy, https_proxy and http_proxy, which have no way to this machine.
  if (IsLoopback(connection.address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto check = std::make_shared<KeyCheck>();
  const auto credentials = MakeCredentials(connection.address, join.pin, check);
  if (!credentials.ok()) return credentials.status();
  connection.is_pinned = !join.pin.empty();
  connection.key_check = check;
  connection.channel = grpc::CreateCustomChannel(absl::StrCat("dns:///", connection.address), *credentials, arguments);
  return connection;
}

void Authorize(grpc::ClientContext& context, absl::string_view token) {
  context.AddMetadata(kAuthorizationKey, absl::StrCat(kBearerPrefix, token));
}

absl::Status Explain(const Connection& connection, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const bool unavailable = status.error_code() == grpc::StatusCode::UNAVAILABLE;
  if (unavailable || status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    if (absl::Status key = connection.key_check->last(); !key.ok()) return key;
  }
  if (unavailable && !connection.is_pinned && IsAboutTheCertificate(status.error_message())) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the certificate of ", connection.address, " is not one that this system's authorities vouch for under that ",
        "name: its terminator needs another (a private authority is named by the environment's SSL_CERT_FILE), or ",
        "something between here and there answers in its place"));
  }
  if (unavailable) {
    return absl::UnavailableError(absl::StrCat("the coordinator at ", connection.address,
                                               " cannot be reached: ", UnreachableReason(status.error_message())));
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return absl::DeadlineExceededError(
        absl::StrCat("the coordinator at ", connection.address, " does not answer: ", UnreachableReason(kNoAnswer)));
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace potluck
