// The time loop backward: the gradients of the gates, step by step.
#pragma once

#include "recurrence.h"

namespace nlp_rnn {

template <typename S, typename T>
struct Backward : Sizes {
  const S* kernel[2];
  const T *state, *cell;
  const bool* mask;
  bool reversed[2];
  const S* output;
  const S *gates[2], *cells[2];
  const S* d_output;
  const T *d_last_state, *d_last_cell;
  S* d_projected[2];  // may be `gates`
  T *d_state, *d_cell;
  S* before[2];     // h before each step, [batch, time, units]
  S* d_product[2];  // GRU; may be `cells`
};

template <typename Cell, typename S, typename T, bool Tiled>
class BackwardLoop : Loop<Cell, T, Backward<S, T>> {
  using Base = Loop<Cell, T, Backward<S, T>>;
  using Base::a, Base::plan, Base::padded, Base::stride, Base::lanes, Base::G, Base::width, Base::wide, Base::at;
  static constexpr int kColumns = Tiled ? kTileColumns : 2;  // vectors of units in a panel
  using P = std::conditional_t<Tiled, bfloat16, T>;

 public:
  BackwardLoop(const Backward<S, T>& arguments, int threads)
      : Base(arguments, threads),
        depth_(Tiled ? (G * padded + kTileDepth - 1) / kTileDepth * kTileDepth : G * padded),
        long_stride_(depth_ + 2 * lanes),
        panels_(a.directions * padded * depth_),
        products_(2 * a.directions * a.batch * long_stride_),
        states_(a.directions * a.batch * stride),
        cells_(Cell::has_cell ? a.directions * a.batch * stride : 0),
        carried_(carries() ? a.directions * a.batch * stride : 0) {
    if (depth_ > G * padded) {  // what no gate fills
      panels_.clear(a.directions * padded * depth_);
      products_.clear(2 * a.directions * a.batch * long_stride_);
    }
  }

  void run() {
    const auto work = [this](int d, Phases& phases, int own, const Place* places) {
      Tiles tiles;
      long phase = 0;
      phases.run(phase++, own, [&](int slice) { start(d, places[slice]); });
      for (long s = a.time - 1; s >= 0; --s) {
        phases.run(phase++, own, [&](int slice) { through_cells(d, s, places[slice]); });
        phases.meet(phase);
        phases.run(phase++, own, [&](int slice) { through_products(d, s, places[slice], tiles); });
      }
      phases.run(phase, own, [&](int slice) { finish(d, places[slice]); });
    };
    Base::run([this](int d, const Place& place) { pack(d, place); }, work);
  }

 private:
  bool carries() const { return a.hold && a.mask; }
  P* products(int d, long s, long row) const {
    return products_.get() + (((s & 1) * a.directions + d) * a.batch + row) * long_stride_;
  }
  T* state(int d, long row) const { return states_.get() + (d * a.batch + row) * stride; }
  T* cell(int d, long row) const { return cells_.get() + (d * a.batch + row) * stride; }
  T* carried(int d, long row) const { return carried_.get() + (d * a.batch + row) * stride; }
  P* panel(int d, long block) const { return panels_.get() + (d * padded + block * lanes) * depth_; }

  // The transposed kernel in panels of up to `kColumns` vectors: [gates, padded units, columns · lanes], or tiles
  // [gates · padded units / 32, columns].
  void pack(int d, const Place& place) {
    long chunk = 0;
    for (long block = place.block_begin; block < place.block_end; block += kColumns, ++chunk) {
      if (chunk % plan.groups != place.group) continue;
      const long columns = std::min<long>(kColumns, place.block_end - block);
      P* to = panel(d, block);
      for (long j = 0; j < columns * lanes; ++j) {
        const long unit = block * lanes + j;
        for (long k = 0; k < G * padded; k += lanes) {
          const long g = k / padded, u = k % padded;
          P line[lanes];
          Vector<T> weights = {};
          if (unit < a.units) weights = load(a.kernel[d] + (unit * G + g) * a.units + u, width(u / lanes));
          store(line, weights);
          for (long i = k; i < k + lanes; ++i)
            if constexpr (Tiled)
              to[(i / kTileDepth * columns + j / lanes) * kTileSize + tile_place(i % kTileDepth, j % lanes)] =
                  line[i - k];
            else
              to[i * columns * lanes + j] = line[i - k];
        }
      }
    }
  }

  void start(int d, const Place& place) {
    for (long row = place.row_begin; row < place.row_end; ++row)
      for (long block = place.block_begin; block < place.block_end; ++block) {
        const long u = block * lanes, from = wide(row) + d * a.units + u;
        const int w = width(block);
        store(state(d, row) + u, load(a.d_last_state + from, w));
        if (Cell::has_cell) store(cell(d, row) + u, load(a.d_last_cell + from, w));
        if (carries()) store(carried(d, row) + u, Vector<T>{});
        Vector<T> before = load(a.state + from, w);
        for (long s = 0; s < a.time; ++s) {
          const long t = this->time_of(d, s);
          store(a.before[d] + at(row, t, a.units) + u, before, w);
          if (this->real(row, t)) before = load(a.output + at(row, t, a.directions * a.units) + d * a.units + u, w);
        }
      }
  }

  void finish(int d, const Place& place) {
    for (long row = place.row_begin; row < place.row_end; ++row)
      for (long block = place.block_begin; block < place.block_end; ++block) {
        const long u = block * lanes, to = wide(row) + d * a.units + u;
        store(a.d_state + to, load(state(d, row) + u), width(block));
        if (Cell::has_cell) store(a.d_cell + to, load(cell(d, row) + u), width(block));
      }
  }

  void through_cells(int d, long s, const Place& place) {
    for (long row = place.row_begin; row < place.row_end; ++row)
      for (long block = place.block_begin; block < place.block_end; ++block) units(d, s, row, block);
  }

  void through_products(int d, long s, const Place& place, Tiles& tiles) {
    for (long block = place.block_begin; block < place.block_end; block += kColumns) {
      const long columns = std::min<long>(kColumns, place.block_end - block);
      if (columns == 1) product<1>(d, s, place, block, tiles);
      if (columns == 2) product<2>(d, s, place, block, tiles);
      if constexpr (kColumns > 2) {
        if (columns == 3) product<3>(d, s, place, block, tiles);
        if (columns == 4) product<4>(d, s, place, block, tiles);
      }
    }
  }

  // The cell of one row, step and vector of units.
  void units(int d, long s, long b, long block) {
    const long t = this->time_of(d, s), u = block * lanes, gates = G * a.units, here = at(b, t, a.units) + u;
    const int w = width(block);
    S* d_projected = a.d_projected[d] + at(b, t, gates) + u;
    P* to = products(d, s, b) + u;
    const Vector<T> d_output = load(a.d_output + at(b, t, a.directions * a.units) + d * a.units + u, w);
    if (!this->real(b, t)) {
      for (int g = 0; g < G; ++g) {
        store(d_projected + g * a.units, Vector<T>{}, w);
        store(to + g * padded, Vector<T>{});
      }
      if (Cell::has_product) store(a.d_product[d] + here, Vector<T>{}, w);
      if (carries()) store(carried(d, b) + u, load(carried(d, b) + u) + d_output);
      return;
    }
    BackwardUnits<S, T> one;
    one.d_state = load(state(d, b) + u) + d_output;
    if (carries()) {
      one.d_state += load(carried(d, b) + u);
      store(carried(d, b) + u, Vector<T>{});
    }
    one.output = load(a.output + at(b, t, a.directions * a.units) + d * a.units + u, w);
    one.before = load(a.before[d] + here, w);
    if (Cell::has_cell || Cell::has_product) one.cell = load(a.cells[d] + here, w);
    if (Cell::has_cell) {
      one.cell_before = s > 0 ? load(a.cells[d] + at(b, this->time_of(d, s - 1), a.units) + u, w)
                              : load(a.cell + wide(b) + d * a.units + u, w);
      one.d_cell = load(cell(d, b) + u);
    }
    if (Cell::keeps_gates) one.gates = a.gates[d] + at(b, t, gates) + u;
    one.d_projected = d_projected;
    one.units = a.units;
    one.width = w;
    Vector<T> sums[G];
    Cell::template backward<S, T>(one, sums);
    for (int g = 0; g < G; ++g) store(to + g * padded, sums[g]);
    store(state(d, b) + u, one.d_state);
    if (Cell::has_cell) store(cell(d, b) + u, one.d_cell);
    if (Cell::has_product) store(a.d_product[d] + here, one.d_product, w);
  }

  // dL/dh before the step: what bypassed the product, and the product's gradients times the transposed kernel.
  template <int N>
  void product(int d, long s, const Place& place, long block, Tiles& tiles) {
    const long t = this->time_of(d, s);
    if constexpr (Tiled) {
      split_rows(kTileRows, place.row_begin, place.row_end, [&](long row, int count) {
        if (this->any_real(row, count, t))
          tiles.multiply<N>(count, depth_, products(d, s, row), long_stride_, panel(d, block),
                            state(d, row) + block * lanes, stride * sizeof(T), true);
      });
    } else {
      split_rows_constant<std::min(kAccumulators / kColumns, kRows)>(
          place.row_begin, place.row_end, [&](long row, auto rows) {
            constexpr int M = decltype(rows)::value;
            if (!this->any_real(row, M, t)) return;
            Vector<T> sums[M][N];
            for (int m = 0; m < M; ++m)
              for (int j = 0; j < N; ++j) sums[m][j] = load(state(d, row + m) + (block + j) * lanes);
            multiply<T, M, N>(depth_, products(d, s, row), long_stride_, panel(d, block), sums);
            for (int m = 0; m < M; ++m)
              for (int j = 0; j < N; ++j) store(state(d, row + m) + (block + j) * lanes, sums[m][j]);
          });
    }
  }

  const long depth_, long_stride_;
  Buffer<P> panels_, products_;
  Buffer<T> states_, cells_, carried_;
};

}  // namespace nlp_rnn
