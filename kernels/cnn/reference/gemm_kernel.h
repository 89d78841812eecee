// The one source of all products of matrices: gemm.cc and its neighbours include it, each for its own instruction set,
// hence the unnamed namespace. Uses nothing of the standard library (see kernels/cpu/PotluckSimd.cmake).
#pragma once

#include "kernels/cnn/reference/gemm.h"

namespace potluck::cnn::reference {
namespace {

template <typename T, int kBytes>
struct Kernel {
  typedef T Vector __attribute__((vector_size(kBytes)));
  static constexpr size_t kLanes = kBytes / sizeof(T);
  static constexpr size_t kColumns = 2 * kLanes;  // Of a panel.
  static constexpr size_t kDepth = 256;           // A panel of so many rows stays in the first-level cache.
  static constexpr int kRows = 6;                 // 12 sums in registers.

  static Vector Load(const T* from) {
    Vector value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
  }
  static void Store(const Vector& value, T* to) { __builtin_memcpy(to, &value, sizeof(value)); }

  // kHeight rows of C, one panel wide.
  template <int kHeight>
  static void Tile(const T* a, size_t a_row, size_t a_column, const Vector* panel, size_t depth, T* c, size_t c_row) {
    Vector sums[kHeight][2];
    for (int r = 0; r < kHeight; ++r) {
      sums[r][0] = Load(c + r * c_row);
      sums[r][1] = Load(c + r * c_row + kLanes);
    }
    for (size_t k = 0; k < depth; ++k, a += a_column) {
      const Vector left = panel[2 * k], right = panel[2 * k + 1];
      for (int r = 0; r < kHeight; ++r) {
        const T factor = a[r * a_row];
        sums[r][0] = sums[r][0] + factor * left;
        sums[r][1] = sums[r][1] + factor * right;
      }
    }
    for (int r = 0; r < kHeight; ++r) {
      Store(sums[r][0], c + r * c_row);
      Store(sums[r][1], c + r * c_row + kLanes);
    }
  }

  // All rows of C, one panel wide.
  static void Column(size_t m, Matrix<const T> a, const Vector* panel, size_t depth, T* c, size_t c_row) {
    size_t r = 0;
    for (; r + kRows <= m; r += kRows) {
      Tile<kRows>(a.values + r * a.row, a.row, a.column, panel, depth, c + r * c_row, c_row);
    }
    for (; r + 2 <= m; r += 2) Tile<2>(a.values + r * a.row, a.row, a.column, panel, depth, c + r * c_row, c_row);
    if (r < m) Tile<1>(a.values + r * a.row, a.row, a.column, panel, depth, c + r * c_row, c_row);
  }

  // The last columns, fewer than a panel has: through a buffer.
  static void Edge(size_t m, size_t columns, Matrix<const T> a, const Vector* panel, size_t depth, T* c, size_t c_row) {
    T buffer[kRows * kColumns] = {};
    for (size_t r = 0; r < m; r += kRows) {
      const size_t height = m - r < kRows ? m - r : kRows;
      for (size_t i = 0; i < height; ++i) {
        for (size_t j = 0; j < columns; ++j) buffer[i * kColumns + j] = c[(r + i) * c_row + j];
      }
      Column(height, {a.values + r * a.row, a.row, a.column}, panel, depth, buffer, kColumns);
      for (size_t i = 0; i < height; ++i) {
        for (size_t j = 0; j < columns; ++j) c[(r + i) * c_row + j] = buffer[i * kColumns + j];
      }
    }
  }

  static void Run(size_t m, size_t n, size_t k, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
    Vector panel[kDepth * 2];
    T* const packed = reinterpret_cast<T*>(panel);
    for (size_t first = 0; first < k; first += kDepth) {
      const size_t depth = k - first < kDepth ? k - first : kDepth;
      const Matrix<const T> left = {a.values + first * a.column, a.row, a.column};
      for (size_t column = 0; column < n; column += kColumns) {
        const size_t columns = n - column < kColumns ? n - column : kColumns;
        for (size_t i = 0; i < depth; ++i) {
          const T* const from = b.values + (first + i) * b.row + column;
          for (size_t j = 0; j < columns; ++j) packed[i * kColumns + j] = from[j];
          for (size_t j = columns; j < kColumns; ++j) packed[i * kColumns + j] = 0;
        }
        if (columns == kColumns) {
          Column(m, left, panel, depth, c.values + column, c.row);
        } else {
          Edge(m, columns, left, panel, depth, c.values + column, c.row);
        }
      }
    }
  }
};

}  // namespace
}  // namespace potluck::cnn::reference
