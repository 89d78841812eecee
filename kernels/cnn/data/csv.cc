#include "kernels/cnn/data/csv.h"

#include <algorithm>
#include <cstdint>

namespace potluck::cnn {
namespace {

constexpr uint32_t kMaxSide = 4096;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Status WrongLine(const std::string& path, uint64_t line, const std::string& what) {
  return Status::Error(path + ", line " + std::to_string(line) + ": " + what);
}

// Takes a number of 0 to 255 and the comma behind it, if one follows.
bool TakeByte(std::string_view& text, uint8_t& value) {
  uint32_t number = 0;
  size_t digits = 0;
  for (; digits < text.size() && digits < 4 && IsDigit(text[digits]); ++digits) {
    number = number * 10 + static_cast<uint32_t>(text[digits] - '0');
  }
  if (digits == 0 || number > 255) return false;
  text.remove_prefix(digits);
  if (!text.empty() && text.front() != ',') return false;
  if (!text.empty()) text.remove_prefix(1);
  value = static_cast<uint8_t>(number);
  return true;
}

uint32_t SideOf(uint64_t pixels) {
  uint32_t side = 1;
  while (side <= kMaxSide && uint64_t{side} * side < pixels) ++side;
  return side <= kMaxSide && uint64_t{side} * side == pixels ? side : 0;
}

}  // namespace

Status ReadCsv(const std::string& path, std::string_view bytes, DataSet& data) {
  uint64_t line = 0, expected = 0;
  while (!bytes.empty()) {
    ++line;
    std::string_view text = bytes.substr(0, bytes.find('\n'));
    bytes.remove_prefix(std::min(bytes.size(), text.size() + 1));
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (line == 1 && (text.empty() || !IsDigit(text.front()))) continue;
    uint8_t value = 0;
    const size_t before = data.pixels.size();
    for (uint64_t column = 1; !text.empty(); ++column) {
      if (!TakeByte(text, value)) {
        return WrongLine(path, line,
                         "number " + std::to_string(column) + " is \"" +
                             std::string(text.substr(0, std::min<size_t>(text.find(','), 20))) +
                             "\", expected a whole number from 0 to 255");
      }
      if (column == 1) {
        data.labels.push_back(value);
      } else {
        data.pixels.push_back(value);
      }
    }
    const uint64_t pixels = data.pixels.size() - before;
    if (expected == 0) {
      const uint32_t side = SideOf(pixels);
      if (pixels == 0 || side == 0) {
        return WrongLine(path, line,
                         "it has " + std::to_string(pixels) +
                             " pixels behind the label, expected those of a square image (784 are 28 x 28)");
      }
      data.shape = {1, side, side};
      expected = pixels;
    }
    if (pixels != expected) {
      return WrongLine(path, line,
                       "it has " + std::to_string(pixels) + " pixels behind the label, expected " +
                           std::to_string(expected) + " as before");
    }
  }
  if (data.labels.empty()) return Status::Error(path + ": it has no line with an image");
  return {};
}

}  // namespace potluck::cnn
