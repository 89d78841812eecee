// Products of matrices in a fixed order of sums: C[m][n] += A[m][k] B[k][n], each element by itself, k ascending, every
// product rounded before it is added. So the bits depend neither on blocking nor on the width of vectors, and all code
// paths (kernels/cpu/dispatch.h) give the same ones.
#pragma once

#include <cstddef>

namespace potluck {
enum class Dispatch;
}

namespace potluck::cnn::reference {

// A's element (m, k) is a[m * row + k * column]; B and C are stored row by row, `row` elements apart.
template <typename T>
struct Matrix {
  T* values;
  size_t row;
  size_t column = 1;
};

template <typename T>
using GemmFunction = void (*)(size_t m, size_t n, size_t k, Matrix<const T> a, Matrix<const T> b, Matrix<T> c);

// The one for a code path. Doubles, which are for checking, have only the scalar one.
GemmFunction<float> GemmFor(Dispatch dispatch);
void GemmDouble(size_t m, size_t n, size_t k, Matrix<const double> a, Matrix<const double> b, Matrix<double> c);

void GemmScalar(size_t m, size_t n, size_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c);
void GemmAvx2(size_t m, size_t n, size_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c);
void GemmAvx512(size_t m, size_t n, size_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c);

}  // namespace potluck::cnn::reference
