#include "kernels/cnn/data/npy.h"

#include <algorithm>
#include <optional>

#include "kernels/cnn/data/files.h"

namespace potluck::cnn {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr uint64_t kMostElements = uint64_t{1} << 40;

struct NpyArray {
  std::string type;  // "|u1", "<i8"
  std::vector<uint64_t> dims;
  size_t begin = 0;  // Of the elements in the file.
};

std::string Product(const std::vector<uint64_t>& dims) {
  std::string text;
  for (const uint64_t dim : dims) text += (text.empty() ? "" : " x ") + std::to_string(dim);
  return text.empty() ? "0-dimensional" : text;
}

// Reads the header's Python dictionary: {'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  bool Read(NpyArray& array, bool& fortran_order) {
    if (!Take('{')) return false;
    while (!Take('}')) {
      std::string key;
      if (!TakeString(key) || !Take(':')) return false;
      if (key == "descr") {
        if (!TakeString(array.type)) return false;
      } else if (key == "fortran_order") {
        if (!TakeWord("True", fortran_order, true) && !TakeWord("False", fortran_order, false)) return false;
      } else if (key == "shape") {
        if (!TakeShape(array.dims)) return false;
      } else {
        return false;
      }
      Take(',');
    }
    Skip();
    return text_.empty() && !array.type.empty();
  }

 private:
  void Skip() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
  }
  bool Take(char c) {
    Skip();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word, bool& out, bool value) {
    Skip();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    out = value;
    return true;
  }
  bool TakeString(std::string& out) {
    Skip();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return false;
    const size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return false;
    out = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return true;
  }
  bool TakeShape(std::vector<uint64_t>& dims) {
    if (!Take('(')) return false;
    while (!Take(')')) {
      Skip();
      uint64_t value = 0;
      size_t digits = 0;
      for (; digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9'; ++digits) {
        value = value * 10 + static_cast<uint64_t>(text_[digits] - '0');
        if (value > kMostElements) return false;
      }
      if (digits == 0) return false;
      text_.remove_prefix(digits);
      dims.push_back(value);
      Take(',');
    }
    return true;
  }

  std::string_view text_;
};

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// The header, and that the file has the elements it announces, of `width(type)` bytes each (0: not of use here).
template <typename Width>
Result<NpyArray> Parse(const std::string& path, std::string_view bytes, const std::string& types, const Width& width) {
  if (!bytes.starts_with(kMagic)) {
    return WrongAt(path, 0, "an .npy file begins with the bytes 93 \"NUMPY\", this one does not");
  }
  if (bytes.size() < 12) return WrongAt(path, bytes.size(), "the file ends in its header");
  const int version = static_cast<uint8_t>(bytes[6]);
  if (version < 1 || version > 3) {
    return WrongAt(path, 6, "the format's version is " + std::to_string(version) + ", expected 1, 2 or 3");
  }
  const size_t prefix = version == 1 ? 10 : 12;
  const uint64_t length = LittleEndian(bytes.substr(8, version == 1 ? 2 : 4));
  if (length > bytes.size() - prefix) {
    return WrongAt(path, bytes.size(), "the file ends in its header, which has " + std::to_string(length) + " bytes");
  }
  NpyArray array;
  bool fortran_order = false;
  if (!HeaderReader(bytes.substr(prefix, length)).Read(array, fortran_order)) {
    return WrongAt(path, prefix,
                   "the header is not of the form {'descr': '|u1', 'fortran_order': False, 'shape': (3, 2)}");
  }
  array.begin = prefix + length;
  const size_t element = width(array.type);
  if (element == 0) return WrongAt(path, prefix, "the elements' type is '" + array.type + "', expected " + types);
  if (fortran_order && array.dims.size() > 1) {
    return WrongAt(path, prefix, "fortran_order is True, expected False (numpy.ascontiguousarray makes it so)");
  }
  uint64_t elements = 1;
  for (const uint64_t dim : array.dims) {
    elements *= dim;
    if (dim == 0) return WrongAt(path, prefix, "the shape " + Product(array.dims) + " has a 0, expected at least 1");
    if (elements > kMostElements) return WrongAt(path, prefix, "the shape " + Product(array.dims) + " is too large");
  }
  const std::string why = "its header (" + std::to_string(array.begin) + " bytes) and " + Product(array.dims) +
                          " elements of " + std::to_string(element) + (element == 1 ? " byte" : " bytes");
  if (Status size = CheckSize(path, bytes.size(), array.begin + elements * element, why); !size.ok()) return size;
  return array;
}

bool IsChannels(uint64_t dim) { return dim == 1 || dim == 3 || dim == 4; }

// [height][width][channels] to [channels][height][width], image by image.
std::vector<uint8_t> ChannelsFirst(std::string_view pixels, const Shape& shape) {
  std::vector<uint8_t> turned(pixels.size());
  const uint64_t area = uint64_t{shape.height} * shape.width;
  for (uint64_t base = 0; base < pixels.size(); base += shape.size()) {
    for (uint64_t at = 0; at < area; ++at) {
      for (uint64_t channel = 0; channel < shape.channels; ++channel) {
        turned[base + channel * area + at] = static_cast<uint8_t>(pixels[base + at * shape.channels + channel]);
      }
    }
  }
  return turned;
}

std::string Header(const std::string& type, const std::vector<uint64_t>& dims) {
  std::string shape;
  for (const uint64_t dim : dims) shape += std::to_string(dim) + (dims.size() == 1 ? "," : ", ");
  if (dims.size() > 1) shape.resize(shape.size() - 2);
  std::string text = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  // The elements begin at a multiple of 64.
  text.append(63 - (kMagic.size() + 4 + text.size()) % 64, ' ');
  text.push_back('\n');
  std::string out(kMagic);
  out += {1, 0, static_cast<char>(text.size()), static_cast<char>(text.size() >> 8)};
  return out + text;
}

}  // namespace

Result<uint64_t> ReadNpyImages(const std::string& path, std::string_view bytes, DataSet& data) {
  const auto width = [](const std::string& type) -> size_t {
    return type == "|u1" || type == "u1" || type == "<u1" || type == ">u1" ? 1 : 0;
  };
  const Result<NpyArray> array = Parse(path, bytes, "'|u1' (unsigned bytes)", width);
  if (!array.ok()) return array.status();
  const std::vector<uint64_t>& dims = array->dims;
  if (dims.size() != 3 && dims.size() != 4) {
    return WrongAt(path, 8, "the shape is " + Product(dims) + ", expected 3 or 4 dimensions (images, height, width)");
  }
  for (size_t i = 1; i < dims.size(); ++i) {
    if (dims[i] > 4096) return WrongAt(path, 8, "the shape is " + Product(dims) + ", expected sides of 1 to 4096");
  }
  const bool is_turned = dims.size() == 4 && IsChannels(dims[3]) && !IsChannels(dims[1]);
  Shape shape{1, static_cast<uint32_t>(dims[1]), static_cast<uint32_t>(dims[2])};
  if (is_turned) {
    shape.channels = static_cast<uint32_t>(dims[3]);
  } else if (dims.size() == 4) {
    shape = {static_cast<uint32_t>(dims[1]), static_cast<uint32_t>(dims[2]), static_cast<uint32_t>(dims[3])};
  }
  const std::string_view pixels = bytes.substr(array->begin);
  data.shape = shape;
  if (is_turned) {
    data.pixels = ChannelsFirst(pixels, shape);
  } else {
    data.pixels.assign(pixels.begin(), pixels.end());
  }
  return dims[0];
}

Result<LabelArray> ReadNpyLabels(const std::string& path, std::string_view bytes) {
  const auto width = [](const std::string& type) -> size_t {
    if (type.size() != 3 || (type[1] != 'u' && type[1] != 'i')) return 0;
    if (type[0] != '<' && !(type[2] == '1' && type[0] == '|')) return 0;
    return type[2] == '1' || type[2] == '2' || type[2] == '4' || type[2] == '8' ? static_cast<size_t>(type[2] - '0')
                                                                                : 0;
  };
  const Result<NpyArray> array =
      Parse(path, bytes, "whole numbers in little-endian order ('|u1', '<u2', '<i4', '<i8' and so on)", width);
  if (!array.ok()) return array.status();
  if (array->dims.empty() || array->dims.size() > 2 || (array->dims.size() == 2 && array->dims[1] != 1)) {
    return WrongAt(path, 8, "the shape is " + Product(array->dims) + ", expected one dimension (labels)");
  }
  const size_t size = width(array->type);
  LabelArray labels{.labels = std::vector<uint16_t>(array->dims[0]), .begin = array->begin, .width = size};
  for (size_t i = 0; i < array->dims[0]; ++i) {
    const size_t offset = array->begin + i * size;
    const uint64_t raw = LittleEndian(bytes.substr(offset, size));
    if (const auto value = static_cast<int64_t>(raw << (64 - 8 * size)) >> (64 - 8 * size);
        array->type[1] == 'i' && value < 0) {
      return WrongAt(
          path, offset,
          "the label of sample " + std::to_string(i) + " is " + std::to_string(value) + ", expected 0 or more");
    }
    if (raw > 65534) {
      return WrongAt(
          path, offset,
          "the label of sample " + std::to_string(i) + " is " + std::to_string(raw) + ", expected 0 to 65534");
    }
    labels.labels[i] = static_cast<uint16_t>(raw);
  }
  return labels;
}

std::string WriteNpyImages(const DataSet& data) {
  std::vector<uint64_t> dims = {data.samples()};
  if (data.shape.channels != 1) dims.push_back(data.shape.channels);
  dims.push_back(data.shape.height);
  dims.push_back(data.shape.width);
  std::string out = Header("|u1", dims);
  out.append(reinterpret_cast<const char*>(data.pixels.data()), data.pixels.size());
  return out;
}

std::string WriteNpyLabels(const DataSet& data) {
  const bool is_wide = std::any_of(data.labels.begin(), data.labels.end(), [](uint16_t label) { return label > 255; });
  std::string out = Header(is_wide ? "<u2" : "|u1", {data.samples()});
  for (const uint16_t label : data.labels) {
    out.push_back(static_cast<char>(label));
    if (is_wide) out.push_back(static_cast<char>(label >> 8));
  }
  return out;
}

}  // namespace potluck::cnn
