#include "kernels/cnn/data/idx.h"

#include <cstdio>

#include "kernels/cnn/data/files.h"

namespace potluck::cnn {
namespace {

constexpr uint8_t kUnsignedByte = 8;
// The product of sizes that are each below 2^32 stays below 2^64 as long as it is checked after each.
constexpr uint64_t kMostElements = uint64_t{1} << 40;

uint32_t BigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", value);
  return text;
}

void AppendBigEndian(uint32_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

std::string Header(const std::vector<uint64_t>& dims) {
  std::string out;
  AppendBigEndian(uint32_t{kUnsignedByte} << 8 | static_cast<uint32_t>(dims.size()), out);
  for (const uint64_t dim : dims) AppendBigEndian(static_cast<uint32_t>(dim), out);
  return out;
}

std::string Expected(uint32_t least, uint32_t most) {
  std::string text;
  for (uint32_t dims = least; dims <= most; ++dims) {
    text += (text.empty() ? "" : " or ") + Hex(uint32_t{kUnsignedByte} << 8 | dims);
  }
  return text;
}

}  // namespace

Result<IdxArray> ParseIdx(const std::string& path, std::string_view bytes, uint32_t least, uint32_t most) {
  if (bytes.size() < 4) {
    return WrongAt(path, bytes.size(), "the file ends before its magic number, which has 4 bytes");
  }
  const uint32_t magic = BigEndian(bytes);
  const uint32_t count = magic & 0xff;
  if (magic >> 8 != kUnsignedByte || count < least || count > most) {
    return WrongAt(
        path, 0,
        "the magic number is " + Hex(magic) + ", expected " + Expected(least, most) + " (IDX, unsigned bytes)");
  }
  IdxArray array;
  array.begin = 4 + size_t{4} * count;
  if (bytes.size() < array.begin) {
    return WrongAt(path, bytes.size(),
                   "the file ends in its header, which has " + std::to_string(array.begin) + " bytes");
  }
  uint64_t elements = 1;
  std::string product;
  for (uint32_t i = 0; i < count; ++i) {
    const size_t offset = 4 + size_t{4} * i;
    array.dims.push_back(BigEndian(bytes.substr(offset)));
    elements *= array.dims.back();
    product += (i == 0 ? "" : " x ") + std::to_string(array.dims.back());
    if (array.dims.back() == 0) return WrongAt(path, offset, "a dimension is 0, expected at least 1");
    if (elements > kMostElements) return WrongAt(path, offset, product + " elements are more than any file holds");
  }
  const Status size = CheckSize(path, bytes.size(), array.begin + elements,
                                "its header (" + std::to_string(array.begin) + " bytes) and " + product + " elements");
  if (!size.ok()) return size;
  return array;
}

Result<uint64_t> ReadIdxImages(const std::string& path, std::string_view bytes, DataSet& data) {
  const Result<IdxArray> array = ParseIdx(path, bytes, 3, 4);
  if (!array.ok()) return array.status();
  const std::vector<uint64_t>& dims = array->dims;
  for (size_t i = 1; i < dims.size(); ++i) {
    if (dims[i] > 4096) {
      return WrongAt(path, 4 + 4 * i, "the size of images is " + std::to_string(dims[i]) + ", expected 1 to 4096");
    }
  }
  const bool has_channels = dims.size() == 4;
  data.shape.channels = has_channels ? static_cast<uint32_t>(dims[1]) : 1;
  data.shape.height = static_cast<uint32_t>(dims[dims.size() - 2]);
  data.shape.width = static_cast<uint32_t>(dims[dims.size() - 1]);
  data.pixels.assign(bytes.begin() + static_cast<std::ptrdiff_t>(array->begin), bytes.end());
  return dims[0];
}

Result<LabelArray> ReadIdxLabels(const std::string& path, std::string_view bytes) {
  const Result<IdxArray> array = ParseIdx(path, bytes, 1, 1);
  if (!array.ok()) return array.status();
  LabelArray labels{.labels = {}, .begin = array->begin, .width = 1};
  labels.labels.reserve(bytes.size() - array->begin);
  for (const char label : bytes.substr(array->begin)) labels.labels.push_back(static_cast<uint8_t>(label));
  return labels;
}

std::string WriteIdxImages(const DataSet& data) {
  std::vector<uint64_t> dims = {data.samples()};
  if (data.shape.channels != 1) dims.push_back(data.shape.channels);
  dims.push_back(data.shape.height);
  dims.push_back(data.shape.width);
  std::string out = Header(dims);
  out.append(reinterpret_cast<const char*>(data.pixels.data()), data.pixels.size());
  return out;
}

std::string WriteIdxLabels(const DataSet& data) {
  std::string out = Header({data.samples()});
  for (const uint16_t label : data.labels) out.push_back(static_cast<char>(label));
  return out;
}

}  // namespace potluck::cnn
