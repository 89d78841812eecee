// The certificates of the authorities that this system trusts, for a connection without a pin.
//
// gRPC looks in fewer places and says nothing when it finds none, and a binary that brings its own OpenSSL does not
// know where the system keeps them. Plain functions, thread-safe; files are read anew at each call.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace potluck {

// Where to look: the first of `files` that is there, unless `chosen` names one.
struct RootsPlaces {
  std::string chosen;       // By the user; a failure with it is told, not passed over.
  std::string chosen_with;  // What it was named by, for the sentence.
  std::vector<std::string> files;
};

// The environment's SSL_CERT_FILE, else its GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, else where distributions keep them.
RootsPlaces SystemRootsPlaces();

// In PEM. InvalidArgument says where was looked and what to set.
absl::StatusOr<std::string> LoadRoots(const RootsPlaces& places);

}  // namespace potluck
