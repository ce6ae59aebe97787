// Recurrences that are linear in their state, h_t = a_t ∘ h_{t-1} + b_t, where neither a nor b depends on the state:
// one pass over the steps computes the gates, the state and the output, and another one all gradients.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "scan_cells.h"
#include "team.h"

namespace nlp_rnn {

// What both passes read. T is computed with, S is stored.
template <typename S, typename T>
struct Scan {
  long batch, time, units;
  bool reversed;
  const S* projected;   // [batch, time, gates · units]
  const S* skip;        // [batch, time, units], of cells that read something beside their gates
  const T* parameters;  // [parameters, units]: a bias for each gate, then the decay, of cells that have them
  const T* state;       // [batch, units], before the first step
  const bool* mask;     // [batch, time], or null: steps that are left out
};

template <typename S, typename T>
struct ScanForward : Scan<S, T> {
  S* output;       // [batch, time, units], 0 at steps that are left out
  S* states;       // [batch, time, units], of cells whose output is not their state, where a gradient will be taken
  T* last_output;  // [batch, units], 0 where all steps are left out
  T* last_state;   // [batch, units]
};

template <typename S, typename T>
struct ScanBackward : Scan<S, T> {
  const S* states;  // after each step
  const S* d_output;
  const T *d_last_output, *d_last_state;
  S *d_projected, *d_skip;
  T *d_parameters, *d_state;  // [batch, parameters, units], [batch, units]
};

template <typename Cell>
constexpr int parameters_of() {
  return (Cell::has_bias ? Cell::gates : 0) + (Cell::has_decay ? 1 : 0);
}

template <typename Cell, typename S, typename T>
inline ScanTerms<T, Cell::gates> terms_at(const Scan<S, T>& s, long place, long u, int width) {
  ScanTerms<T, Cell::gates> terms;
  for (int g = 0; g < Cell::gates; ++g) {
    terms.gates[g] = load(s.projected + (place * Cell::gates + g) * s.units + u, width);
    if (Cell::has_bias) terms.gates[g] += load(s.parameters + g * s.units + u, width);
  }
  terms.skip = Cell::has_skip ? load(s.skip + place * s.units + u, width) : Vector<T>{};
  terms.decay = Cell::has_decay ? load(s.parameters + Cell::gates * s.units + u, width) : Vector<T>{};
  Cell::forward(terms);
  return terms;
}

// The steps of each row that are not left out, in the order in which they are taken.
template <typename Sizes>
class Order {
 public:
  explicit Order(const Sizes& sizes) : s_(sizes) {
    if (s_.mask == nullptr) return;
    places_.resize(s_.batch * s_.time);
    counts_.assign(s_.batch, 0);
    for (long row = 0; row < s_.batch; ++row)
      for (long k = 0; k < s_.time; ++k)
        if (s_.mask[row * s_.time + turned(k)]) places_[row * s_.time + counts_[row]++] = turned(k);
  }

  long count(long row) const { return counts_.empty() ? s_.time : counts_[row]; }
  long at(long row, long k) const { return counts_.empty() ? turned(k) : places_[row * s_.time + k]; }

 private:
  long turned(long k) const { return s_.reversed ? s_.time - 1 - k : k; }

  const Sizes& s_;
  std::vector<long> places_, counts_;
};

// How the work is shared: rows, and units within them; where both are few, stretches of time too, of which all but the
// last are done twice.
struct Shares {
  long chunk, chunks, stretches;

  Shares(long batch, long time, long units, int lanes, int threads) {
    const long wanted = threads == 1 ? 1 : 4 * threads, least = std::max(lanes, 16);
    chunks = std::max<long>(1, std::min((wanted + batch - 1) / batch, units / least));
    chunk = ((units + chunks - 1) / chunks + least - 1) / least * least;
    chunks = (units + chunk - 1) / chunk;
    const long parts = batch * chunks;
    stretches = 4 * parts <= threads ? std::max<long>(1, std::min(threads / parts, time / 64)) : 1;
  }
};

// Does work(0) … work(count - 1), each once, on so many threads.
template <typename F>
void share(long count, int threads, F&& work) {
  std::atomic<long> next{0};
  Team::instance().run(static_cast<int>(std::max<long>(1, std::min<long>(threads, count))), [&](int) {
    for (long i = next++; i < count; i = next++) work(i);
  });
}

// A pass over all rows, in parts of a row and a chunk of units. `Pass` has, for the units from … to - 1 of a row:
//   count(row)                                     how many steps there are
//   begin(row, from, to)                           what is carried from step to step before the first one
//   run(row, from, to, first, last, carried)       steps first … last - 1, in the order of the pass
//   sum(row, from, to, first, last, factor, sum)   what these steps make of the carried x: factor ∘ x + sum
//   end(row, from, to, carried, is_last)           after a stretch, one after the other
template <typename Pass, typename T>
void run_pass(const Pass& pass, const Shares& shares, long batch, long units, int threads) {
  const long stretches = shares.stretches, parts = batch * shares.chunks;
  const auto part = [&](long index, auto&& work) {
    const long row = index / shares.chunks, from = index % shares.chunks * shares.chunk;
    return work(row, from, std::min(units, from + shares.chunk));
  };
  const auto bound = [&](long row, long stretch) { return pass.count(row) * stretch / stretches; };
  std::vector<std::vector<T>> carried(stretches == 1 ? 0 : parts * stretches);
  if (stretches == 1)
    return share(parts, threads, [&](long index) {
      part(index, [&](long row, long from, long to) {
        std::vector<T> one = pass.begin(row, from, to);
        pass.run(row, from, to, 0, pass.count(row), one);
        pass.end(row, from, to, one, true);
      });
    });
  std::vector<std::vector<T>> factors(carried.size()), sums(carried.size());
  share(parts * (stretches - 1), threads, [&](long i) {
    const long stretch = i % (stretches - 1), at = i / (stretches - 1) * stretches + stretch;
    part(i / (stretches - 1), [&](long row, long from, long to) {
      factors[at].assign(shares.chunk, T(1));
      sums[at].assign(shares.chunk, T(0));
      pass.sum(row, from, to, bound(row, stretch), bound(row, stretch + 1), factors[at], sums[at]);
    });
  });
  for (long index = 0; index < parts; ++index)
    part(index, [&](long row, long from, long to) {
      const long first = index * stretches;
      carried[first] = pass.begin(row, from, to);
      for (long at = first; at < first + stretches - 1; ++at) {
        carried[at + 1] = carried[at];
        for (long u = 0; u < to - from; ++u) carried[at + 1][u] = factors[at][u] * carried[at][u] + sums[at][u];
      }
    });
  share(parts * stretches, threads, [&](long i) {
    part(i / stretches, [&](long row, long from, long to) {
      pass.run(row, from, to, bound(row, i % stretches), bound(row, i % stretches + 1), carried[i]);
    });
  });
  for (long i = 0; i < parts * stretches; ++i)
    part(i / stretches,
         [&](long row, long from, long to) { pass.end(row, from, to, carried[i], i % stretches == stretches - 1); });
}

template <typename Cell, typename S, typename T>
class ForwardPass {
  using V = Vector<T>;
  static constexpr int lanes = Simd<T>::lanes, G = Cell::gates;

 public:
  explicit ForwardPass(const ScanForward<S, T>& scan) : s_(scan), order_(scan) {}

  long count(long row) const { return order_.count(row); }

  std::vector<T> begin(long row, long from, long to) const {
    const T* state = s_.state + row * s_.units;
    std::vector<T> carried((to - from + lanes - 1) / lanes * lanes, T(0));
    std::copy(state + from, state + to, carried.begin());
    return carried;
  }

  void run(long row, long from, long to, long first, long last, std::vector<T>& carried) const {
    if (first == 0) leave_out(row, from, to);
    for (long k = first; k < last; ++k) {
      const long place = row * s_.time + order_.at(row, k);
      for (long u = from; u < to; u += lanes) {
        const int width = static_cast<int>(std::min<long>(lanes, to - u));
        const ScanTerms<T, G> terms = terms_at<Cell>(s_, place, u, width);
        const V state = terms.a * load(&carried[u - from]) + terms.b;
        store(&carried[u - from], state);
        const V output = Cell::output(terms, state);
        store(s_.output + place * s_.units + u, output, width);
        if (Cell::has_output && s_.states) store(s_.states + place * s_.units + u, state, width);
        if (k == count(row) - 1) store(s_.last_output + row * s_.units + u, output, width);
      }
    }
  }

  void sum(long row, long from, long to, long first, long last, std::vector<T>& factor, std::vector<T>& sum) const {
    for (long k = first; k < last; ++k) {
      const long place = row * s_.time + order_.at(row, k);
      for (long u = from; u < to; u += lanes) {
        const ScanTerms<T, G> terms = terms_at<Cell>(s_, place, u, static_cast<int>(std::min<long>(lanes, to - u)));
        store(&factor[u - from], terms.a * load(&factor[u - from]));
        store(&sum[u - from], terms.a * load(&sum[u - from]) + terms.b);
      }
    }
  }

  void end(long row, long from, long to, const std::vector<T>& carried, bool is_last) const {
    if (!is_last) return;
    std::copy(carried.begin(), carried.begin() + (to - from), s_.last_state + row * s_.units + from);
    if (count(row) == 0) std::fill_n(s_.last_output + row * s_.units + from, to - from, T(0));
  }

 private:
  void leave_out(long row, long from, long to) const {
    if (s_.mask == nullptr) return;
    for (long place = row * s_.time; place < (row + 1) * s_.time; ++place)
      if (!s_.mask[place]) std::fill_n(s_.output + place * s_.units + from, to - from, S{});
  }

  const ScanForward<S, T>& s_;
  const Order<ScanForward<S, T>> order_;
};

// From the last step to the first: what is carried is the gradient of the state after a step.
template <typename Cell, typename S, typename T>
class BackwardPass {
  using V = Vector<T>;
  static constexpr int lanes = Simd<T>::lanes, G = Cell::gates, P = parameters_of<Cell>();

 public:
  explicit BackwardPass(const ScanBackward<S, T>& scan) : s_(scan), order_(scan) {
    std::fill_n(s_.d_parameters, s_.batch * P * s_.units, T(0));
  }

  long count(long row) const { return order_.count(row); }

  std::vector<T> begin(long row, long from, long to) const {
    const T* last = s_.d_last_state + row * s_.units;
    const long size = (to - from + lanes - 1) / lanes * lanes;
    std::vector<T> carried((1 + P) * size, T(0));  // then the sums of the parameters' gradients
    std::copy(last + from, last + to, carried.begin());
    return carried;
  }

  void run(long row, long from, long to, long first, long last, std::vector<T>& carried) const {
    if (first == 0) leave_out(row, from, to);
    const long size = carried.size() / (1 + P);
    for (long step = first; step < last; ++step) {
      const long k = count(row) - 1 - step, place = row * s_.time + order_.at(row, k);
      for (long u = from; u < to; u += lanes) {
        const int width = static_cast<int>(std::min<long>(lanes, to - u));
        const ScanTerms<T, G> terms = terms_at<Cell>(s_, place, u, width);
        ScanGradients<T, G> gradients = {};
        V d_state = load(&carried[u - from]) + of_output(terms, gradients, row, k, place, u, width);
        const V before = k > 0 ? load(s_.states + (row * s_.time + order_.at(row, k - 1)) * s_.units + u, width)
                               : load(s_.state + row * s_.units + u, width);
        Cell::backward(terms, d_state * before, d_state, gradients);
        store(&carried[u - from], d_state * terms.a);
        T* sums = &carried[size + u - from];
        for (int g = 0; g < G; ++g) {
          store(s_.d_projected + (place * G + g) * s_.units + u, gradients.gates[g], width);
          if (Cell::has_bias) store(sums + g * size, load(sums + g * size) + gradients.gates[g]);
        }
        if (Cell::has_skip) store(s_.d_skip + place * s_.units + u, gradients.skip, width);
        if (Cell::has_decay) store(sums + G * size, load(sums + G * size) + gradients.decay);
      }
    }
  }

  void sum(long row, long from, long to, long first, long last, std::vector<T>& factor, std::vector<T>& sum) const {
    for (long step = first; step < last; ++step) {
      const long k = count(row) - 1 - step, place = row * s_.time + order_.at(row, k);
      for (long u = from; u < to; u += lanes) {
        const int width = static_cast<int>(std::min<long>(lanes, to - u));
        const ScanTerms<T, G> terms = terms_at<Cell>(s_, place, u, width);
        ScanGradients<T, G> gradients = {};
        const V d_state = load(&sum[u - from]) + of_output(terms, gradients, row, k, place, u, width);
        store(&factor[u - from], terms.a * load(&factor[u - from]));
        store(&sum[u - from], terms.a * d_state);
      }
    }
  }

  void end(long row, long from, long to, const std::vector<T>& carried, bool is_last) const {
    const long size = carried.size() / (1 + P);
    for (int p = 0; p < P; ++p)
      for (long u = 0; u < to - from; ++u)
        s_.d_parameters[(row * P + p) * s_.units + from + u] += carried[(1 + p) * size + u];
    if (is_last) std::copy(carried.begin(), carried.begin() + (to - from), s_.d_state + row * s_.units + from);
  }

 private:
  // What the gradient of the output adds to that of the state.
  V of_output(const ScanTerms<T, G>& terms, ScanGradients<T, G>& gradients, long row, long k, long place, long u,
              int width) const {
    V d_output = load(s_.d_output + place * s_.units + u, width);
    if (k == count(row) - 1) d_output += load(s_.d_last_output + row * s_.units + u, width);
    if constexpr (!Cell::has_output) return d_output;
    return Cell::of_output(terms, load(s_.states + place * s_.units + u, width), d_output, gradients);
  }

  void leave_out(long row, long from, long to) const {
    if (s_.mask == nullptr) return;
    for (long place = row * s_.time; place < (row + 1) * s_.time; ++place) {
      if (s_.mask[place]) continue;
      for (int g = 0; g < G; ++g) std::fill_n(s_.d_projected + (place * G + g) * s_.units + from, to - from, S{});
      if (Cell::has_skip) std::fill_n(s_.d_skip + place * s_.units + from, to - from, S{});
    }
  }

  const ScanBackward<S, T>& s_;
  const Order<ScanBackward<S, T>> order_;
};

template <typename Cell, typename S, typename T>
void run_scan(const ScanForward<S, T>& scan, int threads) {
  const Shares shares(scan.batch, scan.time, scan.units, Simd<T>::lanes, threads);
  run_pass<ForwardPass<Cell, S, T>, T>(ForwardPass<Cell, S, T>(scan), shares, scan.batch, scan.units, threads);
}

template <typename Cell, typename S, typename T>
void run_scan(const ScanBackward<S, T>& scan, int threads) {
  const Shares shares(scan.batch, scan.time, scan.units, Simd<T>::lanes, threads);
  run_pass<BackwardPass<Cell, S, T>, T>(BackwardPass<Cell, S, T>(scan), shares, scan.batch, scan.units, threads);
}

// Calls work(cell) with the cell of a kind, as `ScanKinds` in nlp_rnn/layers/scan.py counts them.
template <typename F>
void with_cell(int kind, F&& work) {
  if (kind == 0) work(LinearCell());
  if (kind == 1) work(MinGruCell());
  if (kind == 2) work(MinLstmCell());
  if (kind == 3) work(SruCell());
  if (kind == 4) work(QrnnCell());
  if (kind == 5) work(RgLruCell());
}

struct CellTraits {
  int gates = 0, parameters = 0;
  bool has_skip = false, has_output = false;
};

inline CellTraits traits_of(int kind) {
  CellTraits found;
  with_cell(kind,
            [&](auto cell) { found = {cell.gates, parameters_of<decltype(cell)>(), cell.has_skip, cell.has_output}; });
  return found;
}

template <typename Scan>
void dispatch_scan(int kind, const Scan& scan, int threads) {
  if (scan.batch == 0 || scan.units == 0) return;
  with_cell(kind, [&](auto cell) { run_scan<decltype(cell)>(scan, threads); });
}

}  // namespace nlp_rnn
