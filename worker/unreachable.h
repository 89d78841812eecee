// Why a coordinator cannot be reached, in words that say what to do.
//
// gRPC tells it in one text, made of its own words and those of OpenSSL, c-ares and the kernel; what is known of these
// is put into a sentence of ours, everything else is handed on as it came. A plain function; thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace potluck {

// What stands for gRPC's text where it only says that time has run out.
inline constexpr char kNoAnswer[] = "connection timed out";

// The part of a sentence after "the coordinator at X cannot be reached: ". `message` is grpc::Status::error_message().
std::string UnreachableReason(absl::string_view message);

}  // namespace potluck
