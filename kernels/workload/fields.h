// Reads and writes the part of protobuf's wire format that payloads use, so that a workload's payloads are ordinary
// messages (proto/nqueens.proto) although kernels/ builds without protobuf.
//
// Written canonically: fields ascending, zero values and empty bytes left out, which is what protobuf's own serializer
// does; so equal values have equal bytes and equal digests. Reading skips unknown fields, as protobuf does.
// Source of the format: protobuf.dev/programming-guides/encoding.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace potluck {

// Appends fields; call in ascending order of number.
class FieldWriter {
 public:
  void Fixed64(uint32_t number, uint64_t value) {
    if (value == 0) return;
    Varint(number << 3 | 1);
    for (int shift = 0; shift < 64; shift += 8) out_.push_back(static_cast<char>(value >> shift));
  }
  void Uint(uint32_t number, uint64_t value) {
    if (value == 0) return;
    Varint(number << 3 | 0);
    Varint(value);
  }
  void Bytes(uint32_t number, std::string_view value) {
    if (value.empty()) return;
    Varint(number << 3 | 2);
    Varint(value.size());
    out_.append(value);
  }
  std::string Take() { return std::move(out_); }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  std::string out_;
};

// The fields of one message; absent ones read as zero or empty. Views point into the parsed bytes.
class FieldReader {
 public:
  // nullopt when `bytes` is not well-formed.
  static std::optional<FieldReader> Parse(std::string_view bytes) {
    FieldReader reader;
    while (!bytes.empty()) {
      uint64_t key = 0;
      if (!TakeVarint(bytes, key) || key >> 3 == 0 || key >> 3 > 0x1fffffff) return std::nullopt;
      const uint32_t number = static_cast<uint32_t>(key >> 3);
      switch (key & 7) {
        case 0: {
          uint64_t value = 0;
          if (!TakeVarint(bytes, value)) return std::nullopt;
          reader.numbers_[number] = value;
          break;
        }
        case 1: {
          if (bytes.size() < 8) return std::nullopt;
          reader.numbers_[number] = LittleEndian(bytes.substr(0, 8));
          bytes.remove_prefix(8);
          break;
        }
        case 2: {
          uint64_t length = 0;
          if (!TakeVarint(bytes, length) || length > bytes.size()) return std::nullopt;
          reader.bytes_[number] = bytes.substr(0, length);
          bytes.remove_prefix(length);
          break;
        }
        case 5: {
          if (bytes.size() < 4) return std::nullopt;
          reader.numbers_[number] = LittleEndian(bytes.substr(0, 4));
          bytes.remove_prefix(4);
          break;
        }
        default:
          return std::nullopt;
      }
    }
    return reader;
  }

  uint64_t Number(uint32_t number) const {
    const auto it = numbers_.find(number);
    return it == numbers_.end() ? 0 : it->second;
  }
  std::string_view Bytes(uint32_t number) const {
    const auto it = bytes_.find(number);
    return it == bytes_.end() ? std::string_view() : it->second;
  }

 private:
  static uint64_t LittleEndian(std::string_view bytes) {
    uint64_t value = 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  static bool TakeVarint(std::string_view& bytes, uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.front());
      bytes.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  std::map<uint32_t, uint64_t> numbers_;
  std::map<uint32_t, std::string_view> bytes_;
};

}  // namespace potluck
