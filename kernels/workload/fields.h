// Reads and writes the part of protobuf's wire format that payloads use, so that a workload's payloads are ordinary
// messages (proto/nqueens.proto, proto/cnn.proto) although kernels/ builds without protobuf.
//
// Written canonically: fields ascending, zero values and empty bytes left out, repeated numbers packed, which is what
// protobuf's own serializer does; so equal values have equal bytes and equal digests. Reading skips unknown fields, as
// protobuf does.
// Source of the format: protobuf.dev/programming-guides/encoding.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace potluck {

// Appends fields; call in ascending order of number.
class FieldWriter {
 public:
  void Fixed64(uint32_t number, uint64_t value) {
    if (value == 0) return;
    Varint(number << 3 | 1);
    Eight(value);
  }
  // Left out only if all its bits are 0: -0.0 is written.
  void Double(uint32_t number, double value) { Fixed64(number, std::bit_cast<uint64_t>(value)); }
  void Bool(uint32_t number, bool value) { Uint(number, value ? 1 : 0); }
  void Uint(uint32_t number, uint64_t value) {
    if (value == 0) return;
    Varint(number << 3 | 0);
    Varint(value);
  }
  void Bytes(uint32_t number, std::string_view value) {
    if (!value.empty()) Message(number, value);
  }
  // An embedded message, or one element of a repeated field of bytes, strings or messages: written even if empty, as
  // its presence says something.
  void Message(uint32_t number, std::string_view value) {
    Varint(number << 3 | 2);
    Varint(value.size());
    out_.append(value);
  }
  // A repeated field of doubles, packed.
  void Doubles(uint32_t number, std::span<const double> values) {
    if (values.empty()) return;
    Varint(number << 3 | 2);
    Varint(values.size() * 8);
    for (const double value : values) Eight(std::bit_cast<uint64_t>(value));
  }
  std::string Take() { return std::move(out_); }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  void Eight(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) out_.push_back(static_cast<char>(value >> shift));
  }
  std::string out_;
};

// The fields of one message; absent ones read as zero or empty, of repeated ones that should not be the last counts.
// Views point into the parsed bytes.
class FieldReader {
 public:
  // nullopt when `bytes` is not well-formed.
  static std::optional<FieldReader> Parse(std::string_view bytes) {
    FieldReader reader;
    while (!bytes.empty()) {
      uint64_t key = 0;
      if (!TakeVarint(bytes, key) || key >> 3 == 0 || key >> 3 > 0x1fffffff) return std::nullopt;
      Field field{static_cast<uint32_t>(key >> 3), (key & 7) == 2, 0, {}};
      uint64_t length = 0;
      switch (key & 7) {
        case 0:
          if (!TakeVarint(bytes, field.value)) return std::nullopt;
          break;
        case 1:
        case 5:
          length = (key & 7) == 1 ? 8 : 4;
          if (bytes.size() < length) return std::nullopt;
          field.value = LittleEndian(bytes.substr(0, length));
          bytes.remove_prefix(length);
          break;
        case 2:
          if (!TakeVarint(bytes, length) || length > bytes.size()) return std::nullopt;
          field.bytes = bytes.substr(0, length);
          bytes.remove_prefix(length);
          break;
        default:
          return std::nullopt;
      }
      reader.fields_.push_back(field);
    }
    return reader;
  }

  uint64_t Number(uint32_t number) const {
    const Field* field = Last(number, false);
    return field == nullptr ? 0 : field->value;
  }
  double Double(uint32_t number) const { return std::bit_cast<double>(Number(number)); }
  bool Bool(uint32_t number) const { return Number(number) != 0; }
  std::string_view Bytes(uint32_t number) const {
    const Field* field = Last(number, true);
    return field == nullptr ? std::string_view() : field->bytes;
  }
  // Whether there is a field of bytes (a string, a message) of this number, empty or not.
  bool HasBytes(uint32_t number) const { return Last(number, true) != nullptr; }
  // All elements of a repeated field of bytes, strings or messages, in their order.
  std::vector<std::string_view> AllBytes(uint32_t number) const {
    std::vector<std::string_view> all;
    for (const Field& field : fields_) {
      if (field.number == number && field.is_bytes) all.push_back(field.bytes);
    }
    return all;
  }
  // A repeated field of doubles, packed or not; nullopt if a packed one is not whole.
  std::optional<std::vector<double>> Doubles(uint32_t number) const {
    std::vector<double> all;
    for (const Field& field : fields_) {
      if (field.number != number) continue;
      if (!field.is_bytes) {
        all.push_back(std::bit_cast<double>(field.value));
        continue;
      }
      if (field.bytes.size() % 8 != 0) return std::nullopt;
      for (size_t i = 0; i < field.bytes.size(); i += 8) {
        all.push_back(std::bit_cast<double>(LittleEndian(field.bytes.substr(i, 8))));
      }
    }
    return all;
  }

 private:
  struct Field {
    uint32_t number = 0;
    bool is_bytes = false;
    uint64_t value = 0;
    std::string_view bytes;
  };

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
  const Field* Last(uint32_t number, bool is_bytes) const {
    for (auto field = fields_.rbegin(); field != fields_.rend(); ++field) {
      if (field->number == number && field->is_bytes == is_bytes) return &*field;
    }
    return nullptr;
  }

  std::vector<Field> fields_;
};

}  // namespace potluck
