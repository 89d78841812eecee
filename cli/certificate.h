// The certificate of an N-Queens result: a text file, a JSON object a line, that names every slice the result is made
// of, so that anybody can add it up again and recompute what they like. docs/certificate.md has the format.
//
// Here are its lines, written and read. Pure functions and values, thread-safe. Errors of reading are InvalidArgument
// and name the field, the value and what is allowed; the line is for the caller to add.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/interval.h"

namespace potluck {

inline constexpr int kCertificateVersion = 1;
// No line is longer: bytes, its end included.
inline constexpr size_t kMaxCertificateLine = 16 << 10;

struct CertificateHeader {
  nqueens::Spec spec;        // Such that any build splits the job in the same way: with the depth that was chosen.
  uint64_t index_space = 0;  // Subproblems: the slices cover [0, index_space).
  std::string version;       // Of the coordinator's potluck.
  std::string created;       // "2026-03-01T12:00:00Z".
};

struct CertificateSlice {
  Interval interval;
  nqueens::Counts counts;
  std::string worker;
  std::string version;      // Of the worker's potluck; empty if not known.
  std::string devices;      // Numerics classes of the worker's devices; empty if not known.
  std::string verified_by;  // Another worker that came to the same counts; empty: none did.
};

struct CertificateTotals {
  uint64_t slices = 0;
  nqueens::Counts counts;  // Of the whole job: all slices, and what lies above the subproblems.
  std::string sha256;      // Of all lines before, hexadecimal.
};

// With the line's end.
std::string ToLine(const CertificateHeader& header);
std::string ToLine(const CertificateSlice& slice);
std::string ToLine(const CertificateTotals& totals);

// Without the line's end.
absl::StatusOr<CertificateHeader> ParseHeaderLine(absl::string_view line);
absl::StatusOr<std::variant<CertificateSlice, CertificateTotals>> ParseLine(absl::string_view line);

}  // namespace potluck
