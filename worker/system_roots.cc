#include "worker/system_roots.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace potluck {
namespace {

constexpr char kBegin[] = "-----BEGIN CERTIFICATE-----";

// Empty, with errno, if it cannot be read.
std::string ReadWhole(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

RootsPlaces SystemRootsPlaces() {
  RootsPlaces places;
  for (const char* variable : {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0' || !places.chosen.empty()) continue;
    places.chosen = value;
    places.chosen_with = variable;
  }
  places.files = {
      "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Ubuntu, Arch, Alpine.
      "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL and those made from it.
      "/etc/pki/tls/certs/ca-bundle.crt",                   // The same, earlier.
      "/etc/ssl/ca-bundle.pem",                             // openSUSE.
      "/etc/ssl/cert.pem",                                  // Alpine without ca-certificates.
  };
  return places;
}

absl::StatusOr<std::string> LoadRoots(const RootsPlaces& places) {
  if (!places.chosen.empty()) {
    const std::string pem = ReadWhole(places.chosen);
    if (absl::StrContains(pem, kBegin)) return pem;
    return absl::InvalidArgumentError(
        absl::StrCat("the environment's ", places.chosen_with, " is ", places.chosen, ", which ",
                     !pem.empty() ? "holds no certificate in PEM"
                     : errno != 0 ? absl::StrCat("cannot be read: ", std::strerror(errno))
                                  : "is empty",
                     "; allowed is a file with the certificates of the authorities to trust"));
  }
  for (const std::string& file : places.files) {
    std::string pem = ReadWhole(file);
    if (absl::StrContains(pem, kBegin)) return pem;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the join string has no key pin, so the coordinator's certificate is to be checked against this system's "
      "authorities, but there are none at ",
      absl::StrJoin(places.files, ", "),
      "; install the package ca-certificates, or name such a file in the environment's SSL_CERT_FILE"));
}

}  // namespace potluck
