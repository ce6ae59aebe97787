// The cells of scans: from their gates to a and b of h_t = a_t ∘ h_{t-1} + b_t, and to the output, for one vector of
// units, and the derivatives. The formulas stand in nlp_rnn/layers/parallel.py.
#pragma once

#include "simd.h"

namespace nlp_rnn {

template <typename T, int G>
struct ScanTerms {
  Vector<T> gates[G];  // before they are squashed; `forward` squashes them where they stand
  Vector<T> skip, decay;
  Vector<T> a, b;
  Vector<T> kept;  // what a cell wants to find again
};

template <typename T, int G>
struct ScanGradients {
  Vector<T> gates[G];
  Vector<T> skip, decay;
};

// A cell whose output is its state.
struct PlainCell {
  static constexpr bool has_bias = true;
  static constexpr bool has_skip = false, has_decay = false, has_output = false;

  template <typename Terms, typename V>
  static V output(const Terms&, V state) {
    return state;
  }
  template <typename Terms, typename V, typename Gradients>
  static V of_output(const Terms&, V, V d_output, Gradients&) {
    return d_output;
  }
};

// a and b as they are.
struct LinearCell : PlainCell {
  static constexpr int gates = 2;
  static constexpr bool has_bias = false;

  template <typename Terms>
  static void forward(Terms& t) {
    t.a = t.gates[0];
    t.b = t.gates[1];
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms&, V d_a, V d_b, Gradients& d) {
    d.gates[0] = d_a;
    d.gates[1] = d_b;
  }
};

struct MinGruCell : PlainCell {
  static constexpr int gates = 2;

  template <typename Terms>
  static void forward(Terms& t) {
    t.gates[0] = sigmoid(t.gates[0]);
    t.a = 1 - t.gates[0];
    t.b = t.gates[0] * t.gates[1];
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms& t, V d_a, V d_b, Gradients& d) {
    d.gates[0] = (d_b * t.gates[1] - d_a) * t.a * t.gates[0];
    d.gates[1] = d_b * t.gates[0];
  }
};

struct MinLstmCell : PlainCell {
  static constexpr int gates = 3;

  template <typename Terms>
  static void forward(Terms& t) {
    t.gates[0] = sigmoid(clamp(t.gates[0], 80));
    t.gates[1] = sigmoid(clamp(t.gates[1], 80));
    const auto sum = t.gates[0] + t.gates[1];
    t.a = t.gates[0] / sum;
    t.kept = t.gates[1] / sum;
    t.b = t.kept * t.gates[2];
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms& t, V d_a, V d_b, Gradients& d) {
    const V slope = (d_a - d_b * t.gates[2]) * t.a * t.kept;
    d.gates[0] = slope * (1 - t.gates[0]);
    d.gates[1] = -slope * (1 - t.gates[1]);
    d.gates[2] = d_b * t.kept;
  }
};

struct SruCell {
  static constexpr int gates = 3;
  static constexpr bool has_bias = true, has_skip = true, has_decay = false, has_output = true;

  template <typename Terms>
  static void forward(Terms& t) {
    t.gates[1] = sigmoid(t.gates[1]);
    t.gates[2] = sigmoid(t.gates[2]);
    t.a = t.gates[1];
    t.b = (1 - t.a) * t.gates[0];
  }
  template <typename Terms, typename V>
  static V output(const Terms& t, V state) {
    return t.skip + t.gates[2] * (state - t.skip);
  }
  template <typename Terms, typename V, typename Gradients>
  static V of_output(const Terms& t, V state, V d_output, Gradients& d) {
    d.gates[2] = d_output * (state - t.skip) * t.gates[2] * (1 - t.gates[2]);
    d.skip = d_output * (1 - t.gates[2]);
    return d_output * t.gates[2];
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms& t, V d_a, V d_b, Gradients& d) {
    d.gates[0] = d_b * (1 - t.a);
    d.gates[1] = (d_a - d_b * t.gates[0]) * t.a * (1 - t.a);
  }
};

struct QrnnCell {
  static constexpr int gates = 3;
  static constexpr bool has_bias = true, has_skip = false, has_decay = false, has_output = true;

  template <typename Terms>
  static void forward(Terms& t) {
    t.gates[0] = tanh(t.gates[0]);
    t.gates[1] = sigmoid(t.gates[1]);
    t.gates[2] = sigmoid(t.gates[2]);
    t.a = t.gates[1];
    t.b = (1 - t.a) * t.gates[0];
  }
  template <typename Terms, typename V>
  static V output(const Terms& t, V state) {
    return t.gates[2] * state;
  }
  template <typename Terms, typename V, typename Gradients>
  static V of_output(const Terms& t, V state, V d_output, Gradients& d) {
    d.gates[2] = d_output * state * t.gates[2] * (1 - t.gates[2]);
    return d_output * t.gates[2];
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms& t, V d_a, V d_b, Gradients& d) {
    d.gates[0] = d_b * (1 - t.a) * (1 - t.gates[0] * t.gates[0]);
    d.gates[1] = (d_a - d_b * t.gates[0]) * t.a * (1 - t.a);
  }
};

// a = exp(-decay · r); with y = decay · r, 1 - a² = tanh(y) · (1 + a²), which is exact where a is near 1.
struct RgLruCell : PlainCell {
  static constexpr int gates = 2;
  static constexpr bool has_skip = true, has_decay = true;

  template <typename Terms>
  static void forward(Terms& t) {
    t.gates[0] = sigmoid(t.gates[0]);
    t.gates[1] = sigmoid(t.gates[1]);
    auto y = t.decay * t.gates[0];
    t.a = exponential(-y);
    t.kept = root(larger(tanh(y) * (1 + t.a * t.a), decltype(y){} + 1e-12f));
    t.b = t.kept * t.gates[1] * t.skip;
  }
  template <typename Terms, typename V, typename Gradients>
  static void backward(const Terms& t, V d_a, V d_b, Gradients& d) {
    const V read = t.gates[1] * t.skip, d_y = t.a * (d_b * read * t.a / t.kept - d_a);
    d.decay = d_y * t.gates[0];
    d.gates[0] = d_y * t.decay * t.gates[0] * (1 - t.gates[0]);
    d.gates[1] = d_b * t.kept * t.skip * t.gates[1] * (1 - t.gates[1]);
    d.skip = d_b * t.kept * t.gates[1];
  }
};

}  // namespace nlp_rnn
