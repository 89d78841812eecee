// Reads a certificate line by line, from a file or standard input, compressed (gzip) or not, whatever its name. Holds
// one line at a time. Not thread-safe.
//
// Errors are sentences that name the file, the line and what is wrong there.
#pragma once

#include <zlib.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/sha256.h"
#include "cli/certificate.h"

namespace potluck {

class CertificateReader {
 public:
  using Line = std::variant<CertificateSlice, CertificateTotals>;

  // `-` is standard input.
  static absl::StatusOr<std::unique_ptr<CertificateReader>> Open(const std::string& path);
  ~CertificateReader();
  CertificateReader(const CertificateReader&) = delete;
  CertificateReader& operator=(const CertificateReader&) = delete;

  // First of all, once.
  absl::StatusOr<CertificateHeader> ReadHeader();
  // Then again and again until the totals.
  absl::StatusOr<Line> ReadLine();
  // After the totals: whether the lines before have the digest that they name, and nothing follows.
  absl::Status CheckEnd(const CertificateTotals& totals);

  // Of what was read last; the first line is 1.
  uint64_t line() const { return line_; }
  // An error about that line.
  absl::Status AtLine(absl::string_view sentence) const;

 private:
  CertificateReader(std::string name, gzFile file) : name_(std::move(name)), file_(file) {}

  // Without its end; nullopt at the end of the file.
  absl::StatusOr<std::optional<std::string>> Next();
  absl::Status Fill();

  const std::string name_;
  const gzFile file_;
  std::string buffer_;
  size_t position_ = 0;  // In the buffer.
  uint64_t line_ = 0;
  Sha256Stream digest_;  // Of the lines before the last one that was read.
  std::string last_;     // That one, with its end.
};

}  // namespace potluck
