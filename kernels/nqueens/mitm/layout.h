// How a half board's pattern lies in one word, so that matching can look it up in few steps.
//
//   bits [0, prefix_bits)      the diagonals that most pairs conflict on: streams are grouped, tables sorted by them
//   bits [prefix_bits, used)   the others, looked up in chunks of at most 7 bits
//   the two highest bits       n even, the class (half_board.h): has P's / Q's long diagonal
//
// P's and Q's bit of the same index are partners: a bit of a streamed word is checked against its partner in the table.
// Half boards that lack row n-1 never have Q's highest diagonal, so one bit less has to be looked up: the two partners
// of that diagonal stand at the two ends of the chunks' range, and the one that does not matter is left out.
//
// Immutable, thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/nqueens/mitm/half_board.h"

namespace potluck::nqueens::mitm {

inline constexpr int kMaxPrefixBits = 8;
inline constexpr int kMaxChunkBits = 7;
inline constexpr int kMaxChunks = 7;

// How a stream's words are looked up in tables made of the other half's. Plain data: the kernels read it.
struct Lookup {
  int used_bits = 0;  // Bits from here on are not looked up.
  int prefix_bits = 0;
  int chunks = 0;
  int start[kMaxChunks] = {};  // First bit of a chunk.
  int width[kMaxChunks] = {};
  uint8_t partner[64] = {};  // The table words' bit that a streamed bit is checked against.
};

// -1: chosen by n.
struct LayoutOptions {
  int prefix_bits = -1;  // Even, at most kMaxPrefixBits; fewer are taken where a pattern has no more.
  int chunk_bits = -1;   // 1 to kMaxChunkBits, so that kMaxChunks are enough.
};

class Layout {
 public:
  // `word_bits` 32 or 64; at least UsedBits(half) + 2.
  Layout(const HalfBoard& half, int word_bits, const LayoutOptions& options = {});

  static int UsedBits(const HalfBoard& half);

  int used_bits() const { return used_; }
  int prefix_bits() const { return prefix_bits_; }
  // The word of a pattern.
  uint64_t Pack(const Pattern& pattern) const;
  // Which half's words the tables are made of: the one without row n-1, or the one that has it.
  const Lookup& TableLacksLastRow() const { return table_lacks_last_row_; }
  const Lookup& TableHasLastRow() const { return table_has_last_row_; }

 private:
  Lookup MakeLookup(int begin, int end) const;
  void Place(int index, int up_position, int down_position);

  int used_;
  int prefix_bits_;
  int chunk_bits_;
  std::array<int, 32> up_position_{};  // -1: left out.
  std::array<int, 32> down_position_{};
  std::array<std::array<uint64_t, 256>, 4> up_words_{};  // By byte of P and its value.
  std::array<std::array<uint64_t, 256>, 4> down_words_{};
  Lookup table_lacks_last_row_;
  Lookup table_has_last_row_;
};

}  // namespace potluck::nqueens::mitm
