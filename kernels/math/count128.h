// Unsigned 128-bit counts whose sums and products are checked for overflow: 64 bits overflow in N-Queens at n = 27
// (nodes) and n = 29 (solutions). A small value type; operations that overflow return false and change nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace potluck {

class Count128 {
 public:
  __extension__ using Word = unsigned __int128;

  constexpr Count128() = default;
  constexpr Count128(uint64_t value) : value_(value) {}  // NOLINT(google-explicit-constructor): widening loses nothing
  static constexpr Count128 FromWords(uint64_t high, uint64_t low) { return FromWord(Word{high} << 64 | low); }
  static constexpr Count128 FromWord(Word value) {
    Count128 count;
    count.value_ = value;
    return count;
  }
  static constexpr Count128 Max() { return FromWord(~Word{0}); }

  constexpr uint64_t high() const { return static_cast<uint64_t>(value_ >> 64); }
  constexpr uint64_t low() const { return static_cast<uint64_t>(value_); }
  // Rounded; for rates and estimates only.
  constexpr double ToDouble() const { return static_cast<double>(value_); }

  [[nodiscard]] constexpr bool Add(Count128 other) {
    Word sum = 0;
    if (__builtin_add_overflow(value_, other.value_, &sum)) return false;
    value_ = sum;
    return true;
  }
  [[nodiscard]] constexpr bool Multiply(Count128 factor) {
    Word product = 0;
    if (__builtin_mul_overflow(value_, factor.value_, &product)) return false;
    value_ = product;
    return true;
  }

  friend constexpr auto operator<=>(Count128, Count128) = default;

  // Decimal digits without leading zeros.
  std::string ToString() const {
    std::string digits;
    Word rest = value_;
    do {
      digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
      rest /= 10;
    } while (rest != 0);
    std::reverse(digits.begin(), digits.end());
    return digits;
  }
  // nullopt unless `text` is one or more decimal digits and the value fits.
  static std::optional<Count128> Parse(std::string_view text) {
    if (text.empty()) return std::nullopt;
    Count128 value;
    for (const char digit : text) {
      if (digit < '0' || digit > '9') return std::nullopt;
      if (!value.Multiply(10) || !value.Add(static_cast<uint64_t>(digit - '0'))) return std::nullopt;
    }
    return value;
  }

 private:
  Word value_ = 0;
};

}  // namespace potluck
