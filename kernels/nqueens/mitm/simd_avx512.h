// The vector operations of kernel_impl.h in AVX-512. Included in an anonymous namespace, by files that are
// compiled with or without the instruction that counts bits in vectors (VPOPCNTDQ).

struct Simd {
  using V = __m512i;

  static V Load(const void* from) { return _mm512_loadu_si512(from); }
  static V Fill32(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
  static V Fill64(uint64_t word) { return _mm512_set1_epi64(static_cast<long long>(word)); }
  static V Ones() { return _mm512_set1_epi64(-1); }
  static V And(V a, V b) { return _mm512_and_si512(a, b); }
  static V AndNot(V a, V b) { return _mm512_andnot_si512(a, b); }
  static V Xor(V a, V b) { return _mm512_xor_si512(a, b); }
  static V Left32(V a, int bits) { return _mm512_slli_epi32(a, static_cast<unsigned>(bits)); }
  static V Right32(V a, int bits) { return _mm512_srli_epi32(a, static_cast<unsigned>(bits)); }
  static V Left64(V a, int bits) { return _mm512_slli_epi64(a, static_cast<unsigned>(bits)); }
  static V Right64(V a, int bits) { return _mm512_srli_epi64(a, static_cast<unsigned>(bits)); }

  // Two rows at a time by three-input logic.
  template <int kChunks, typename Address>
  static V AndAll(V base, const Address& address) {
    constexpr int kAnd3 = 0x80;
    int chunk = 0;
#pragma GCC unroll 4
    for (; chunk + 1 < kChunks; chunk += 2) {
      base = _mm512_ternarylogic_epi64(base, _mm512_load_si512(address(chunk)), _mm512_load_si512(address(chunk + 1)),
                                       kAnd3);
    }
    if (chunk < kChunks) base = _mm512_and_si512(base, _mm512_load_si512(address(chunk)));
    return base;
  }

#ifdef __AVX512VPOPCNTDQ__
  class Counter {
   public:
    static constexpr size_t kBatch = ~size_t{0} / 2;
    void Add(V v) { sum_ = _mm512_add_epi64(sum_, _mm512_popcnt_epi64(v)); }
    void Flush() {}
    uint64_t Total() const { return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum_)); }

   private:
    V sum_ = _mm512_setzero_si512();
  };
#else
  // By a table of 16 entries in a register (W. Mula, N. Kurz, D. Lemire: "Faster population counts using AVX2
  // instructions", 2018); a byte holds 31 times 8.
  class Counter {
   public:
    static constexpr size_t kBatch = 31;
    void Add(V v) {
      const V nibbles = _mm512_set1_epi8(0x0f);
      const V counts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
      bytes_ = _mm512_add_epi8(bytes_, _mm512_shuffle_epi8(counts, _mm512_and_si512(v, nibbles)));
      bytes_ = _mm512_add_epi8(bytes_, _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(v, 4), nibbles)));
    }
    void Flush() {
      sum_ = _mm512_add_epi64(sum_, _mm512_sad_epu8(bytes_, _mm512_setzero_si512()));
      bytes_ = _mm512_setzero_si512();
    }
    uint64_t Total() const { return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum_)); }

   private:
    V bytes_ = _mm512_setzero_si512();
    V sum_ = _mm512_setzero_si512();
  };
#endif

  template <typename Word, int kBlocks>
  class Joiner {
   public:
    explicit Joiner(const Word* outer) {
      for (int block = 0; block < kBlocks; ++block) {
        conflict_[block] = _mm512_load_si512(outer + block * 128 / sizeof(Word));
        result_[block] = _mm512_load_si512(outer + block * 128 / sizeof(Word) + 64 / sizeof(Word));
      }
    }
    Word* Join(Word conflict, Word result, Word* out) const {
      if constexpr (sizeof(Word) == 8) {
        const V conflicts = Fill64(conflict), results = Fill64(result);
        for (int block = 0; block < kBlocks; ++block) {
          const __mmask8 fit = _mm512_testn_epi64_mask(conflict_[block], conflicts);
          _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(fit, _mm512_or_si512(result_[block], results)));
          out += __builtin_popcount(fit);
        }
      } else {
        const V conflicts = Fill32(conflict), results = Fill32(result);
        for (int block = 0; block < kBlocks; ++block) {
          const __mmask16 fit = _mm512_testn_epi32_mask(conflict_[block], conflicts);
          _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(fit, _mm512_or_si512(result_[block], results)));
          out += __builtin_popcount(fit);
        }
      }
      return out;
    }

   private:
    V conflict_[kBlocks];
    V result_[kBlocks];
  };
};
