#include "cli/certificate_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

constexpr unsigned kReadBytes = 256 << 10;

absl::Status CannotRead(const std::string& name, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("cannot read ", name, ": ", why));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateReader>> CertificateReader::Open(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  const int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CannotRead(name, std::strerror(errno));
  const gzFile file = gzdopen(fd, "rb");  // Reads what is not compressed as it is.
  if (file == nullptr) {
    close(fd);
    return CannotRead(name, "there is no memory left");
  }
  gzbuffer(file, kReadBytes);
  return std::unique_ptr<CertificateReader>(new CertificateReader(name, file));
}

CertificateReader::~CertificateReader() { gzclose(file_); }

absl::Status CertificateReader::AtLine(absl::string_view sentence) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ", line ", line_, ": ", sentence));
}

absl::Status CertificateReader::Fill() {
  buffer_.erase(0, position_);
  position_ = 0;
  const size_t held = buffer_.size();
  buffer_.resize(held + kReadBytes);
  errno = 0;
  const int size = gzread(file_, buffer_.data() + held, kReadBytes);
  const int system_error = errno;
  buffer_.resize(held + static_cast<size_t>(std::max(size, 0)));
  int error = Z_OK;
  gzerror(file_, &error);
  if (error == Z_BUF_ERROR) {
    return CannotRead(
        name_, absl::StrCat("the compressed data ends in its middle, after line ", line_, ": the file was cut short"));
  }
  if (error == Z_ERRNO) return CannotRead(name_, std::strerror(system_error));
  if (size < 0) {
    return CannotRead(name_, absl::StrCat("the compressed data after line ", line_, " is damaged"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> CertificateReader::Next() {
  size_t end = 0;
  while ((end = buffer_.find('\n', position_)) == std::string::npos || end - position_ >= kMaxCertificateLine) {
    if (buffer_.size() - position_ >= kMaxCertificateLine) {
      ++line_;
      return AtLine(absl::StrCat("it is longer than ", kMaxCertificateLine, " bytes: this is not a certificate"));
    }
    const size_t had = buffer_.size() - position_;
    if (absl::Status filled = Fill(); !filled.ok()) return filled;
    if (buffer_.size() > had) continue;
    if (buffer_.empty()) return std::optional<std::string>();
    ++line_;
    return AtLine("the file ends in the middle of it: it was cut short");
  }
  digest_.Add(last_);
  last_ = buffer_.substr(position_, end + 1 - position_);
  position_ = end + 1;
  ++line_;
  return last_.substr(0, last_.size() - 1);
}

absl::StatusOr<CertificateHeader> CertificateReader::ReadHeader() {
  const absl::StatusOr<std::optional<std::string>> line = Next();
  if (!line.ok()) return line.status();
  if (!line->has_value()) return CannotRead(name_, "it is empty");
  absl::StatusOr<CertificateHeader> header = ParseHeaderLine(**line);
  if (!header.ok()) return AtLine(header.status().message());
  return header;
}

absl::StatusOr<CertificateReader::Line> CertificateReader::ReadLine() {
  const absl::StatusOr<std::optional<std::string>> text = Next();
  if (!text.ok()) return text.status();
  if (!text->has_value()) {
    return CannotRead(name_,
                      absl::StrCat("it ends after line ", line_, " without the line of totals: it was cut short"));
  }
  absl::StatusOr<Line> line = ParseLine(**text);
  if (!line.ok()) return AtLine(line.status().message());
  return line;
}

absl::Status CertificateReader::CheckEnd(const CertificateTotals& totals) {
  if (const std::string found = HexDigest(digest_.Digest()); found != totals.sha256) {
    return AtLine(absl::StrCat("sha256 is \"", totals.sha256, "\", but the lines before have ", found,
                               ": the file was changed after it was written"));
  }
  if (position_ == buffer_.size()) {
    if (absl::Status filled = Fill(); !filled.ok()) return filled;
  }
  if (position_ == buffer_.size()) return absl::OkStatus();
  ++line_;
  return AtLine("it stands after the line of totals, which is the last one of a certificate");
}

}  // namespace potluck
