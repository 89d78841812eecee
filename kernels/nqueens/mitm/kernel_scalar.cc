// The portable path: what Arm and older processors run. The compiler vectorises what it can.
#include <cstdint>

#include "kernels/nqueens/mitm/kernel_variants.h"

namespace potluck::nqueens::mitm {
namespace {

struct Simd {
  struct V {
    uint64_t word[8];
  };

  static V Load(const void* from) {
    V v;
    __builtin_memcpy(&v, from, sizeof(v));
    return v;
  }
  static V Fill64(uint64_t word) { return {{word, word, word, word, word, word, word, word}}; }
  static V Fill32(uint32_t word) { return Fill64(uint64_t{word} << 32 | word); }
  static V Ones() { return Fill64(~uint64_t{0}); }
  template <typename Function>
  static V Map(V a, V b, const Function& function) {
    for (int i = 0; i < 8; ++i) a.word[i] = function(a.word[i], b.word[i]);
    return a;
  }
  static V And(V a, V b) {
    return Map(a, b, [](uint64_t x, uint64_t y) { return x & y; });
  }
  static V AndNot(V a, V b) {
    return Map(a, b, [](uint64_t x, uint64_t y) { return ~x & y; });
  }
  static V Xor(V a, V b) {
    return Map(a, b, [](uint64_t x, uint64_t y) { return x ^ y; });
  }
  static V Right64(V a, int bits) {
    return Map(a, a, [bits](uint64_t x, uint64_t) { return x >> bits; });
  }
  static V Left64(V a, int bits) {
    return Map(a, a, [bits](uint64_t x, uint64_t) { return x << bits; });
  }
  static V Right32(V a, int bits) {
    const uint64_t keep = uint64_t{0x100000001} * (~uint32_t{0} >> bits);
    return Map(a, a, [=](uint64_t x, uint64_t) { return x >> bits & keep; });
  }
  static V Left32(V a, int bits) {
    const uint64_t keep = uint64_t{0x100000001} * (~uint32_t{0} << bits);
    return Map(a, a, [=](uint64_t x, uint64_t) { return x << bits & keep; });
  }

  template <int kChunks, typename Address>
  static V AndAll(V base, const Address& address) {
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const uint64_t* const row = reinterpret_cast<const uint64_t*>(address(chunk));
      for (int i = 0; i < 8; ++i) base.word[i] &= row[i];
    }
    return base;
  }

  // Counts within bytes, which hold 31 words' worth before they are added up; without an instruction that counts bits.
  class Counter {
   public:
    static constexpr size_t kBatch = 31;
    void Add(V v) {
      constexpr uint64_t kPairs = 0x5555555555555555, kNibbles = 0x3333333333333333, kBytes = 0x0f0f0f0f0f0f0f0f;
      for (int i = 0; i < 8; ++i) {
        uint64_t x = v.word[i];
        x -= x >> 1 & kPairs;
        x = (x & kNibbles) + (x >> 2 & kNibbles);
        bytes_.word[i] += (x + (x >> 4)) & kBytes;
      }
    }
    void Flush() {
      for (uint64_t& word : bytes_.word) {
        const uint64_t pairs = (word & 0x00ff00ff00ff00ff) + (word >> 8 & 0x00ff00ff00ff00ff);
        total_ += pairs * 0x0001000100010001 >> 48;
        word = 0;
      }
    }
    uint64_t Total() const { return total_; }

   private:
    V bytes_ = {};
    uint64_t total_ = 0;
  };

  template <typename Word, int kBlocks>
  class Joiner {
   public:
    explicit Joiner(const Word* outer) : outer_(outer) {}
    Word* Join(Word conflict, Word result, Word* out) const {
      constexpr int kEntries = 64 / sizeof(Word);
      for (int block = 0; block < kBlocks; ++block) {
        const Word* const entries = outer_ + block * 2 * kEntries;
        for (int i = 0; i < kEntries; ++i) {
          *out = entries[kEntries + i] | result;
          out += (entries[i] & conflict) == 0;
        }
      }
      return out;
    }

   private:
    const Word* outer_;
  };
};

#include "kernels/nqueens/mitm/kernel_impl.h"

}  // namespace

const Kernel<uint32_t>& ScalarKernel(uint32_t) { return kKernel32; }
const Kernel<uint64_t>& ScalarKernel(uint64_t) { return kKernel64; }

}  // namespace potluck::nqueens::mitm
