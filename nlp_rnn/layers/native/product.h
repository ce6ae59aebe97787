// The matrix product inside the time loop: a few rows of states times a panel of packed weights, the sums in registers.
#pragma once

#include "simd.h"

namespace nlp_rnn {

// sums[m][j] += rows[m] · panel[:, j], with rows of `depth` elements `stride` apart and a panel of `depth` rows of
// N vectors.
template <typename T, int M, int N>
__attribute__((always_inline)) inline void multiply(long depth, const T* rows, long stride, const T* panel,
                                                    Vector<T> (&sums)[M][N]) {
  const auto add = [&](long k, Vector<T>(&to)[M][N]) __attribute__((always_inline)) {
    Vector<T> weights[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) weights[j] = load(panel + (k * N + j) * Simd<T>::lanes);
#pragma GCC unroll 32
    for (int m = 0; m < M; ++m) {
      const T value = rows[m * stride + k];
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) to[m][j] += value * weights[j];
    }
  };
  // A processor has about eight multiplications under way. Few sums are made in parts, which need not wait for each
  // other.
  constexpr int parts = M * N <= 2 ? 4 : M * N < 6 ? 2 : 1;
  long k = 0;
  if constexpr (parts > 1) {
    Vector<T> partial[parts][M][N] = {};
    for (; k + parts <= depth; k += parts)
#pragma GCC unroll 4
      for (int part = 0; part < parts; ++part) add(k + part, partial[part]);
#pragma GCC unroll 4
    for (int part = 0; part < parts; ++part)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < N; ++j) sums[m][j] += partial[part][m][j];
  }
  // Twice: at some lengths of its body, ten multiplications for one, this loop takes half as long again on AMD's Zen 3.
#pragma GCC unroll 2
  for (; k < depth; ++k) add(k, sums);
}

template <int M>
struct Rows {
  static constexpr int value = M;
};

template <int Max, typename F>
inline void dispatch(int rows, long first, F&& f) {
  if constexpr (Max > 1) {
    if (rows < Max) return dispatch<Max - 1>(rows, first, f);
  }
  f(first, Rows<Max>());
}

// Calls f(first row, number of rows) for rows [begin, end) in parts of nearly equal size, at most `most`.
template <typename F>
inline void split_rows(int most, long begin, long end, F&& f) {
  const long count = end - begin, parts = (count + most - 1) / most;
  for (long part = 0; part < parts; ++part) {
    const long from = begin + count * part / parts, to = begin + count * (part + 1) / parts;
    f(from, static_cast<int>(to - from));
  }
}

// The same with the number of rows as a constant, so that their sums can be held in registers.
template <int Max, typename F>
inline void split_rows_constant(long begin, long end, F&& f) {
  split_rows(Max, begin, end, [&](long first, int count) { dispatch<Max>(count, first, f); });
}

}  // namespace nlp_rnn
