#include "kernels/nqueens/mitm/layout.h"

#include <algorithm>

namespace potluck::nqueens::mitm {
namespace {

// Chosen by measurement on Zen 4 (docs/results.md): longer lists pay for finer groups. Even, so that partners stay
// together.
int PrefixBits(int n) { return n <= 17 ? 0 : n <= 19 ? 4 : 8; }

// A short list does not pay for large tables.
int ChunkBits(int n) { return n <= 17 ? 6 : kMaxChunkBits; }

}  // namespace

int Layout::UsedBits(const HalfBoard& half) { return 2 * half.pattern_bits() - (half.SpecialDiagonal() >= 0 ? 2 : 0); }

Layout::Layout(const HalfBoard& half, int word_bits, const LayoutOptions& options)
    : used_(UsedBits(half)),
      prefix_bits_(options.prefix_bits >= 0 ? options.prefix_bits : PrefixBits(half.n())),
      chunk_bits_(options.chunk_bits > 0 ? options.chunk_bits : ChunkBits(half.n())) {
  prefix_bits_ = std::min(prefix_bits_, (used_ - 2) / 2 * 2);
  up_position_.fill(-1);
  down_position_.fill(-1);
  const int bits = half.pattern_bits();
  const int special = half.SpecialDiagonal();
  // The last diagonal's partners stand at the ends; the others go from the centre outward, where conflicts are most
  // likely, the most likely ones highest in the prefix.
  Place(bits - 1, prefix_bits_, used_ - 1);
  int next_prefix = prefix_bits_ - 1;
  int next = prefix_bits_ + 1;
  const int centre = (bits - 1) / 2;
  for (int distance = 0; distance < bits; ++distance) {
    for (const int index : {centre - distance, centre + distance}) {
      if (index < 0 || index >= bits - 1 || index == special || up_position_[static_cast<size_t>(index)] >= 0) continue;
      if (next_prefix > 0) {
        Place(index, next_prefix, next_prefix - 1);
        next_prefix -= 2;
      } else {
        Place(index, next, next + 1);
        next += 2;
      }
    }
  }
  if (!half.odd()) {
    // The class; what the words have in these bits is not looked up.
    up_position_[static_cast<size_t>(special)] = -1;
    const auto index = static_cast<size_t>(half.ClassDiagonal());
    for (size_t value = 0; value < 256; ++value) {
      if ((value >> (index % 8) & 1) == 0) continue;
      up_words_[index / 8][value] |= uint64_t{1} << (word_bits - 1);
      down_words_[index / 8][value] |= uint64_t{1} << (word_bits - 2);
    }
  }
  table_lacks_last_row_ = MakeLookup(prefix_bits_ + 1, used_);
  table_has_last_row_ = MakeLookup(prefix_bits_, used_ - 1);
}

void Layout::Place(int index, int up_position, int down_position) {
  const auto i = static_cast<size_t>(index);
  up_position_[i] = up_position;
  down_position_[i] = down_position;
  for (size_t value = 0; value < 256; ++value) {
    if ((value >> (i % 8) & 1) == 0) continue;
    up_words_[i / 8][value] |= uint64_t{1} << up_position;
    down_words_[i / 8][value] |= uint64_t{1} << down_position;
  }
}

uint64_t Layout::Pack(const Pattern& pattern) const {
  uint64_t word = 0;
  for (size_t byte = 0; byte < 4; ++byte) {
    word |= up_words_[byte][pattern.up >> (8 * byte) & 0xff] | down_words_[byte][pattern.down >> (8 * byte) & 0xff];
  }
  return word;
}

Lookup Layout::MakeLookup(int begin, int end) const {
  Lookup lookup;
  lookup.used_bits = used_;
  lookup.prefix_bits = prefix_bits_;
  const int bits = std::max(end - begin, 0);
  lookup.chunks = std::max(1, (bits + chunk_bits_ - 1) / chunk_bits_);
  int start = begin;
  for (int chunk = 0; chunk < lookup.chunks; ++chunk) {
    lookup.start[chunk] = start;
    lookup.width[chunk] = bits / lookup.chunks + (chunk < bits % lookup.chunks ? 1 : 0);
    start += lookup.width[chunk];
  }
  for (size_t index = 0; index < up_position_.size(); ++index) {
    if (up_position_[index] < 0) continue;
    lookup.partner[up_position_[index]] = static_cast<uint8_t>(down_position_[index]);
    lookup.partner[down_position_[index]] = static_cast<uint8_t>(up_position_[index]);
  }
  return lookup;
}

}  // namespace potluck::nqueens::mitm
