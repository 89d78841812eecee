#include "kernels/cnn/data/images.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cnn/data/files.h"
#include "kernels/cnn/data/idx.h"
#include "kernels/cnn/data/npy.h"

namespace potluck::cnn {
namespace {

// Reads "P5 width height greatest" and the one white space before the pixels, with comments between.
class PnmHeader {
 public:
  PnmHeader(const std::string& path, std::string_view bytes) : path_(path), bytes_(bytes) {}

  Status Take(const std::string& name, uint32_t most, uint32_t& value) {
    SkipSpace();
    const size_t begin = at_;
    uint64_t number = 0;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9' && number < 1'000'000'000; ++at_) {
      number = number * 10 + static_cast<uint64_t>(bytes_[at_] - '0');
    }
    if (at_ == begin) return WrongAt(path_, begin, "the " + name + " is missing in the header, expected a number");
    if (number == 0 || number > most) {
      return WrongAt(path_, begin,
                     "the " + name + " is " + std::to_string(number) + ", expected 1 to " + std::to_string(most));
    }
    value = static_cast<uint32_t>(number);
    return {};
  }

  // Of the first pixel.
  size_t begin() const { return at_ + 1; }

 private:
  static bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  void SkipSpace() {
    for (; at_ < bytes_.size() && (IsSpace(bytes_[at_]) || bytes_[at_] == '#'); ++at_) {
      if (bytes_[at_] == '#') at_ = std::min(bytes_.size() - 1, bytes_.find('\n', at_));
    }
  }

  const std::string& path_;
  const std::string_view bytes_;
  size_t at_ = 2;  // Behind "P5".
};

Status ReadPnm(const std::string& path, std::string_view bytes, DataSet& data) {
  PnmHeader header(path, bytes);
  uint32_t greatest = 0;
  data.shape.channels = bytes[1] == '6' ? 3 : 1;
  Status status = header.Take("width", 4096, data.shape.width);
  if (status.ok()) status = header.Take("height", 4096, data.shape.height);
  if (status.ok()) status = header.Take("greatest value", 255, greatest);
  if (!status.ok()) return status;
  status = CheckSize(path, bytes.size(), header.begin() + data.shape.size(),
                     "its header (" + std::to_string(header.begin()) + " bytes) and " +
                         std::to_string(data.shape.width) + " x " + std::to_string(data.shape.height) + " pixels of " +
                         std::to_string(data.shape.channels) + (data.shape.channels == 1 ? " byte" : " bytes"));
  if (!status.ok()) return status;
  data.pixels.resize(data.shape.size());
  const uint64_t area = uint64_t{data.shape.height} * data.shape.width;
  for (uint64_t i = 0; i < data.shape.size(); ++i) {
    const auto value = static_cast<uint8_t>(bytes[header.begin() + i]);
    if (value > greatest) {
      return WrongAt(path, header.begin() + i,
                     "a pixel is " + std::to_string(value) + ", expected 0 to " + std::to_string(greatest));
    }
    data.pixels[i % data.shape.channels * area + i / data.shape.channels] =
        static_cast<uint8_t>((value * 255u + greatest / 2) / greatest);
  }
  return {};
}

}  // namespace

Result<DataSet> ParseImages(const std::string& path, std::string_view bytes) {
  DataSet data;
  Status status;
  if (bytes.starts_with("P5") || bytes.starts_with("P6")) {
    status = ReadPnm(path, bytes, data);
  } else if (bytes.starts_with("\x93NUMPY")) {
    const Result<uint64_t> images = ReadNpyImages(path, bytes, data);
    if (!images.ok()) status = images.status();
  } else if (bytes.starts_with(std::string_view("\0\0", 2))) {
    const Result<uint64_t> images = ReadIdxImages(path, bytes, data);
    if (!images.ok()) status = images.status();
  } else {
    status =
        WrongAt(path, 0, "it is not a file of images that can be read; allowed are IDX, .npy, PGM (P5) and PPM (P6)");
  }
  if (!status.ok()) return status;
  return data;
}

Result<DataSet> ReadImages(const std::string& path) {
  const Result<std::string> bytes = ReadDataFile(path);
  if (!bytes.ok()) return bytes.status();
  return ParseImages(path, *bytes);
}

}  // namespace potluck::cnn
