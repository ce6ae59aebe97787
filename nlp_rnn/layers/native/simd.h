// Vectors of the machine's width, by the compiler's vector extensions, and the functions of the gates.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace nlp_rnn {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kAccumulators = 24;  // of 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kAccumulators = 12;  // of 16
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kAccumulators = 24;  // of 32
#else
constexpr int kVectorBytes = 16;
constexpr int kAccumulators = 12;
#endif

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef int32_t IntVector __attribute__((vector_size(kVectorBytes)));

template <typename T>
struct Simd;
template <>
struct Simd<float> {
  typedef FloatVector Vector;
  static constexpr int lanes = kVectorBytes / sizeof(float);
};
template <>
struct Simd<double> {
  typedef DoubleVector Vector;
  static constexpr int lanes = kVectorBytes / sizeof(double);
};
template <typename T>
using Vector = typename Simd<T>::Vector;

// The first `width` elements at `from`, zeros after them.
template <typename T>
inline Vector<T> load(const T* from, int width = Simd<T>::lanes) {
  Vector<T> v = {};
  if (__builtin_expect(width == Simd<T>::lanes, 1)) {
    std::memcpy(&v, from, sizeof v);
  } else {
    std::memcpy(&v, from, width * sizeof(T));
  }
  return v;
}

template <typename T>
inline void store(T* to, Vector<T> v, int width = Simd<T>::lanes) {
  if (__builtin_expect(width == Simd<T>::lanes, 1)) {
    std::memcpy(to, &v, sizeof v);
  } else {
    std::memcpy(to, &v, width * sizeof(T));
  }
}

// Numbers as they are stored under mixed precision: the upper half of a float.
struct bfloat16 {
  uint16_t bits;
};

typedef uint32_t WordVector __attribute__((vector_size(kVectorBytes)));
typedef uint16_t HalfVector __attribute__((vector_size(kVectorBytes / 2)));

inline FloatVector load(const bfloat16* from, int width = Simd<float>::lanes) {
  HalfVector half = {};
  std::memcpy(&half, from, width == Simd<float>::lanes ? sizeof half : width * sizeof(bfloat16));
  const WordVector words = __builtin_convertvector(half, WordVector) << 16;
  FloatVector v;
  std::memcpy(&v, &words, sizeof v);
  return v;
}

inline void store(bfloat16* to, FloatVector v, int width = Simd<float>::lanes) {
  WordVector words;
  std::memcpy(&words, &v, sizeof v);
  const WordVector rounded = (words + 0x7fff + (words >> 16 & 1)) >> 16;  // to the nearest, ties to even
  const WordVector is_nan = (WordVector)((words & 0x7fffffff) > 0x7f800000);
  const HalfVector half = __builtin_convertvector((is_nan & 0x7fc0) | (~is_nan & rounded), HalfVector);
  std::memcpy(to, &half, width == Simd<float>::lanes ? sizeof half : width * sizeof(bfloat16));
}

inline FloatVector reciprocal(FloatVector x) {
#if defined(__AVX512F__)
  // An estimate of 14 bits and one step of Newton's method.
  FloatVector y = (FloatVector)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
  return y * (2.0f - x * y);
#else
  return 1.0f / x;
#endif
}

// exp(x) = 2^n · e^r, |r| <= ln 2 / 2: gives 2^n and e^r - 1, the latter by its Taylor series to r^7.
inline void exp_parts(FloatVector x, FloatVector& scale, FloatVector& rest) {
  const float round = 12582912.0f;  // 1.5 · 2^23: adding it leaves the nearest integer in the lowest bits
  FloatVector shifted = x * 1.44269504089f + round;
  IntVector bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  FloatVector n = shifted - round;
  FloatVector r = x - n * 0.693359375f;  // ln 2 in two parts
  r = r + n * 2.12194440e-4f;
  FloatVector p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  rest = p * r * r + r;
  bits = (bits + 127) << 23;
  std::memcpy(&scale, &bits, sizeof bits);
}

inline FloatVector clamp(FloatVector x, float limit) {  // a NaN stays one
  x = x > limit ? FloatVector{} + limit : x;
  return x < -limit ? FloatVector{} - limit : x;
}

inline FloatVector sigmoid(FloatVector x) {
  FloatVector scale, rest;
  exp_parts(-clamp(x, 80.0f), scale, rest);
  return reciprocal(1.0f + scale + scale * rest);
}

inline FloatVector tanh(FloatVector x) {
  FloatVector scale, rest;
  exp_parts(2.0f * clamp(x, 10.0f), scale, rest);
  FloatVector less_one = scale * rest + (scale - 1.0f);  // exp(2x) - 1, exact near 0
  return less_one * reciprocal(less_one + 2.0f);
}

// Double precision is for verification: exact rather than fast.
inline DoubleVector clamp(DoubleVector x, double limit) {
  x = x > limit ? DoubleVector{} + limit : x;
  return x < -limit ? DoubleVector{} - limit : x;
}

inline DoubleVector sigmoid(DoubleVector x) {
  for (int i = 0; i < Simd<double>::lanes; ++i) x[i] = 1.0 / (1.0 + std::exp(-x[i]));
  return x;
}

inline DoubleVector tanh(DoubleVector x) {
  for (int i = 0; i < Simd<double>::lanes; ++i) x[i] = std::tanh(x[i]);
  return x;
}

template <typename V>
inline V relu(V x) {
  return x < V{} ? V{} : x;
}

inline FloatVector exponential(FloatVector x) {
  FloatVector scale, rest;
  exp_parts(clamp(x, 87.0f), scale, rest);
  return x < -87.0f ? FloatVector{} : scale + scale * rest;
}

inline DoubleVector exponential(DoubleVector x) {
  for (int i = 0; i < Simd<double>::lanes; ++i) x[i] = std::exp(x[i]);
  return x;
}

template <typename V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

template <typename V>
inline V root(V x) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = std::sqrt(x[i]);
  return x;
}

}  // namespace nlp_rnn
