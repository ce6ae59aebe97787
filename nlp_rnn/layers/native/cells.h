// The cells: what happens between the matrix product and the state, for one vector of units, and its derivative.
// The formulas stand in nlp_rnn/layers/recurrent.py.
#pragma once

#include "simd.h"

namespace nlp_rnn {

// What a cell's `forward` gets and gives: one row, one vector of units. T is computed with, S is stored.
template <typename S, typename T>
struct ForwardUnits {
  Vector<T> state;     // h before the step; after it
  Vector<T> cell;      // c of the LSTM likewise; the GRU leaves its product with the candidate's kernel here
  const S* projected;  // x·W + b of this row and step, one gate after another
  const S* bias;       // of the GRU, inside the reset
  S* gates;            // where the activated gates are kept, or null
  long units;          // from one gate to the next
  int width;           // units of this vector that exist

  Vector<T> input(int gate) const { return load(projected + gate * units, width); }
};

template <typename S, typename T>
struct BackwardUnits {
  Vector<T> output;       // h after the step
  Vector<T> before;       // h before the step
  Vector<T> cell;         // c after the step, or the GRU's product
  Vector<T> cell_before;  // c before the step
  Vector<T> d_state;      // dL/dh; afterwards the part of dL/dh before the step that bypasses the product
  Vector<T> d_cell;       // dL/dc; afterwards that of the step before
  Vector<T> d_product;    // GRU: gradient of the product with the candidate's kernel
  const S* gates;
  S* d_projected;
  long units;
  int width;
};

struct Tanh {
  template <typename V>
  static V forward(V x) {
    return tanh(x);
  }
  template <typename V>
  static V derivative(V y) {
    return 1 - y * y;
  }
};

struct Relu {
  template <typename V>
  static V forward(V x) {
    return relu(x);
  }
  template <typename V>
  static V derivative(V y) {
    return y > V{} ? V{} + 1 : V{};
  }
};

template <typename Activation>
struct SimpleCell {
  static constexpr int gates = 1;
  static constexpr bool keeps_gates = false, has_cell = false, has_product = false;

  template <typename S, typename T>
  static void forward(const Vector<T> (&sums)[gates], ForwardUnits<S, T>& u) {
    u.state = Activation::forward(u.input(0) + sums[0]);
  }

  // The gradients of what goes into the product with U are left in `products`.
  template <typename S, typename T>
  static void backward(BackwardUnits<S, T>& u, Vector<T> (&products)[gates]) {
    products[0] = u.d_state * Activation::derivative(u.output);
    store(u.d_projected, products[0], u.width);
    u.d_state = Vector<T>{};
  }
};

struct LstmCell {
  static constexpr int gates = 4;
  static constexpr bool keeps_gates = true, has_cell = true, has_product = false;

  template <typename S, typename T>
  static void forward(const Vector<T> (&sums)[gates], ForwardUnits<S, T>& u) {
    const Vector<T> i = sigmoid(u.input(0) + sums[0]), f = sigmoid(u.input(1) + sums[1]),
                    c = tanh(u.input(2) + sums[2]), o = sigmoid(u.input(3) + sums[3]);
    u.cell = f * u.cell + i * c;
    u.state = o * tanh(u.cell);
    if (u.gates) {
      store(u.gates, i, u.width);
      store(u.gates + u.units, f, u.width);
      store(u.gates + 2 * u.units, c, u.width);
      store(u.gates + 3 * u.units, o, u.width);
    }
  }

  template <typename S, typename T>
  static void backward(BackwardUnits<S, T>& u, Vector<T> (&products)[gates]) {
    const Vector<T> i = load(u.gates, u.width), f = load(u.gates + u.units, u.width),
                    c = load(u.gates + 2 * u.units, u.width), o = load(u.gates + 3 * u.units, u.width);
    const Vector<T> squashed = tanh(u.cell);
    const Vector<T> d_cell = u.d_cell + u.d_state * o * (1 - squashed * squashed);
    products[0] = d_cell * c * i * (1 - i);
    products[1] = d_cell * u.cell_before * f * (1 - f);
    products[2] = d_cell * i * (1 - c * c);
    products[3] = u.d_state * squashed * o * (1 - o);
    for (int g = 0; g < gates; ++g) store(u.d_projected + g * u.units, products[g], u.width);
    u.d_cell = d_cell * f;
    u.d_state = Vector<T>{};
  }
};

// The GRU that resets after the product.
struct GruCell {
  static constexpr int gates = 3;
  static constexpr bool keeps_gates = true, has_cell = false, has_product = true;

  template <typename S, typename T>
  static void forward(const Vector<T> (&sums)[gates], ForwardUnits<S, T>& u) {
    const Vector<T> z = sigmoid(u.input(0) + sums[0]), r = sigmoid(u.input(1) + sums[1]);
    u.cell = sums[2] + load(u.bias, u.width);
    const Vector<T> n = tanh(u.input(2) + r * u.cell);
    u.state = n + z * (u.state - n);
    if (u.gates) {
      store(u.gates, z, u.width);
      store(u.gates + u.units, r, u.width);
      store(u.gates + 2 * u.units, n, u.width);
    }
  }

  template <typename S, typename T>
  static void backward(BackwardUnits<S, T>& u, Vector<T> (&products)[gates]) {
    const Vector<T> z = load(u.gates, u.width), r = load(u.gates + u.units, u.width),
                    n = load(u.gates + 2 * u.units, u.width);
    const Vector<T> d_candidate = u.d_state * (1 - z) * (1 - n * n);
    products[0] = u.d_state * (u.before - n) * z * (1 - z);
    products[1] = d_candidate * u.cell * r * (1 - r);
    products[2] = u.d_product = d_candidate * r;
    store(u.d_projected, products[0], u.width);
    store(u.d_projected + u.units, products[1], u.width);
    store(u.d_projected + 2 * u.units, d_candidate, u.width);
    u.d_state = u.d_state * z;
  }
};

}  // namespace nlp_rnn
