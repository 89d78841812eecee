#include "kernels/cnn/data/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef POTLUCK_HAS_ZLIB
#include <zlib.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace potluck::cnn {
namespace {

constexpr std::string_view kGzipMagic = "\x1f\x8b";

Status CannotRead(const std::string& path, const std::string& why) {
  return Status::Error("cannot read " + path + ": " + why);
}

#ifdef POTLUCK_HAS_ZLIB
// More than any set that people have; a small file that unpacks to more is no data set.
constexpr size_t kMostBytes = size_t{16} << 30;

class Inflater {
 public:
  Inflater() { is_ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK; }
  ~Inflater() {
    if (is_ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  Result<std::string> Inflate(const std::string& path, std::string_view bytes) {
    if (!is_ready_) return CannotRead(path, "there is no memory left");
    std::string out;
    size_t taken = 0;
    for (;;) {
      const size_t offered = std::min<size_t>(bytes.size() - taken, size_t{1} << 30);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + taken));
      stream_.avail_in = static_cast<uInt>(offered);
      const size_t had = out.size();
      out.resize(std::max<size_t>(had + (size_t{1} << 16), had + had / 2));
      const size_t room = std::min<size_t>(out.size() - had, size_t{1} << 30);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + had);
      stream_.avail_out = static_cast<uInt>(room);
      const int code = inflate(&stream_, Z_NO_FLUSH);
      taken += offered - stream_.avail_in;
      out.resize(had + room - stream_.avail_out);
      if (out.size() > kMostBytes) return CannotRead(path, "it unpacks to more than 16 GiB");
      if (code == Z_STREAM_END) {
        if (taken == bytes.size()) return out;
        if (!bytes.substr(taken).starts_with(kGzipMagic)) {
          return WrongAt(path, taken,
                         "the compressed data ends here, but the file has " + std::to_string(bytes.size() - taken) +
                             " bytes more");
        }
        inflateReset(&stream_);  // One more member, as from concatenated files.
        continue;
      }
      if (code == Z_BUF_ERROR || (code == Z_OK && taken == bytes.size() && stream_.avail_out != 0)) {
        return WrongAt(path, taken, "the compressed data ends in its middle: the file was cut short");
      }
      if (code != Z_OK) {
        return WrongAt(path, taken,
                       std::string("the compressed data is damaged (") +
                           (stream_.msg != nullptr ? stream_.msg : "no memory") + ")");
      }
    }
  }

 private:
  z_stream stream_{};
  bool is_ready_ = false;
};
#endif

}  // namespace

Status WrongAt(const std::string& path, uint64_t offset, const std::string& what) {
  return Status::Error(path + ", offset " + std::to_string(offset) + ": " + what);
}

Status CheckSize(const std::string& path, uint64_t size, uint64_t expected, const std::string& why) {
  if (size == expected) return {};
  return Status::Error(path + ": it has " + std::to_string(size) + " bytes, but " + why + " make " +
                       std::to_string(expected) +
                       (size < expected ? ": the file is short" : ": something stands behind its end"));
}

Result<std::string> Decompress(const std::string& path, std::string_view bytes) {
#ifdef POTLUCK_HAS_ZLIB
  return Inflater().Inflate(path, bytes);
#else
  (void)bytes;
  return CannotRead(path, "it is compressed, and this build has no zlib: decompress it with gunzip");
#endif
}

Result<std::string> ReadDataFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CannotRead(path, std::strerror(errno));
  std::string bytes;
  struct stat info {};
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) bytes.reserve(static_cast<size_t>(info.st_size) + 1);
  for (;;) {
    const size_t had = bytes.size();
    bytes.resize(std::max<size_t>(bytes.capacity(), had + (size_t{1} << 16)));
    const ssize_t got = read(fd, bytes.data() + had, bytes.size() - had);
    const int error = errno;
    bytes.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && error == EINTR) continue;
    if (got <= 0) {
      close(fd);
      if (got < 0) return CannotRead(path, std::strerror(error));
      break;
    }
  }
  const bool is_compressed = bytes.starts_with(kGzipMagic);
  if (!is_compressed && path.ends_with(".gz")) {
    return WrongAt(path, 0, "a gzip file begins with the bytes 1f 8b, this one does not");
  }
  if (!is_compressed) return bytes;
  return Decompress(path, bytes);
}

}  // namespace potluck::cnn
