// The time loop forward. S is what sequences and weights are stored in, T what states are held and computed in.
#pragma once

#include "recurrence.h"

namespace nlp_rnn {

template <typename S, typename T>
struct Forward : Sizes {
  const S* projected[2];  // [batch, time, gates · units] each
  const S* kernel[2];     // [units, gates · units]
  const S* bias[2];       // [units], GRU
  const T *state, *cell;  // [batch, directions · units]
  const bool* mask;       // [batch, time] or null
  bool reversed[2];
  S* output;                  // [batch, time, directions · units]
  T *last_state, *last_cell;  // [batch, directions · units]
  S *gates[2], *cells[2];     // kept for the gradient, or null; `gates` may be `projected`
};

// With `Tiled`, states are multiplied in bfloat16 on the processor's tiles; P is what the products are made from.
template <typename Cell, typename S, typename T, bool Tiled>
class ForwardLoop : Loop<Cell, T, Forward<S, T>> {
  using Base = Loop<Cell, T, Forward<S, T>>;
  using Base::a, Base::plan, Base::padded, Base::stride, Base::lanes, Base::G, Base::width, Base::wide, Base::at;

 public:
  ForwardLoop(const Forward<S, T>& arguments, int threads)
      : Base(arguments, threads),
        depth_(Tiled ? (a.units + kTileDepth - 1) / kTileDepth * kTileDepth : a.units),
        panels_(a.directions * panel() * plan.blocks),
        states_(2 * a.directions * a.batch * stride),
        rounded_(Tiled ? 2 * a.directions * a.batch * rounded_stride() : 0),
        cells_(Cell::has_cell ? a.directions * a.batch * stride : 0) {
    if (Tiled) rounded_.clear(2 * a.directions * a.batch * rounded_stride());
  }

  void run() {
    const auto work = [this](int d, Phases& phases, int own, const Place* places) {
      Tiles tiles;
      phases.run(0, own, [&](int slice) { start(d, places[slice]); });
      for (long s = 0; s < a.time; ++s) {
        phases.meet(s + 1);
        phases.run(s + 1, own, [&](int slice) { step(d, s, places[slice], tiles); });
      }
      phases.run(a.time + 1, own, [&](int slice) { finish(d, places[slice]); });
    };
    Base::run([this](int d, const Place& place) { pack(d, place); }, work);
  }

 private:
  using P = std::conditional_t<Tiled, bfloat16, T>;
  static constexpr int kTogether =
      G == 4 && !Tiled ? 2 : G;  // gates multiplied at once: more rows then fit beside them

  long panel() const { return depth_ * G * lanes; }
  long rounded_stride() const { return depth_ + kTileDepth; }
  bfloat16* rounded(int d, long s, long row) const {
    return rounded_.get() + (((s & 1) * a.directions + d) * a.batch + row) * rounded_stride();
  }
  T* state(int d, long s, long row) const {
    return states_.get() + (((s & 1) * a.directions + d) * a.batch + row) * stride;
  }
  T* cell(int d, long row) const { return cells_.get() + (d * a.batch + row) * stride; }

  // Panels of one vector of units each: [gates / together, units, together, lanes], or tiles [units / 32, gates].
  void pack(int d, const Place& place) {
    for (long block = place.block_begin + place.group; block < place.block_end; block += plan.groups) {
      P* to = panels_.get() + (d * plan.blocks + block) * panel();
      for (long k = 0; k < depth_; ++k)
        for (int g = 0; g < G; ++g) {
          Vector<T> weights = {};
          if (k < a.units) weights = load(a.kernel[d] + (k * G + g) * a.units + block * lanes, width(block));
          if constexpr (Tiled) {
            bfloat16 line[lanes];
            store(line, weights);
            P* tile = to + (k / kTileDepth * G + g) * kTileSize;
            for (int i = 0; i < lanes; ++i) tile[tile_place(k % kTileDepth, i)] = line[i];
          } else {
            store(to + ((g / kTogether * depth_ + k) * kTogether + g % kTogether) * lanes, weights);
          }
        }
    }
  }

  void start(int d, const Place& place) {
    for (long row = place.row_begin; row < place.row_end; ++row)
      for (long block = place.block_begin; block < place.block_end; ++block) {
        const long from = wide(row) + d * a.units + block * lanes;
        const Vector<T> h = load(a.state + from, width(block));
        store(state(d, 0, row) + block * lanes, h);
        if constexpr (Tiled) store(rounded(d, 0, row) + block * lanes, h);
        if (Cell::has_cell) store(cell(d, row) + block * lanes, load(a.cell + from, width(block)));
      }
  }

  void finish(int d, const Place& place) {
    for (long row = place.row_begin; row < place.row_end; ++row)
      for (long block = place.block_begin; block < place.block_end; ++block) {
        const long to = wide(row) + d * a.units + block * lanes;
        store(a.last_state + to, load(state(d, a.time, row) + block * lanes), width(block));
        if (Cell::has_cell) store(a.last_cell + to, load(cell(d, row) + block * lanes), width(block));
      }
  }

  void step(int d, long s, const Place& place, Tiles& tiles) {
    for (long block = place.block_begin; block < place.block_end; ++block)
      if constexpr (Tiled)
        split_rows(kTileRows, place.row_begin, place.row_end,
                   [&](long row, int count) { units<kTileRows>(d, s, row, block, count, tiles); });
      else
        split_rows_constant<std::min(kAccumulators / kTogether, kRows)>(
            place.row_begin, place.row_end,
            [&](long row, auto rows) { units<decltype(rows)::value>(d, s, row, block, decltype(rows)::value, tiles); });
  }

  // One step of `count` rows, at most M, and one vector of units.
  template <int M>
  void units(int d, long s, long row, long block, int count, Tiles& tiles) {
    const long t = this->time_of(d, s), u = block * lanes, gates = G * a.units;
    const int w = width(block);
    Vector<T> sums[M][G] = {};
    if (this->any_real(row, count, t)) {
      // The projected inputs of the rows lie far apart; they are fetched while the product runs.
      for (int m = 0; m < count; ++m)
        for (int g = 0; g < G; ++g) __builtin_prefetch(a.projected[d] + at(row + m, t, gates) + g * a.units + u);
      const P* weights = panels_.get() + (d * plan.blocks + block) * panel();
      if constexpr (Tiled)
        tiles.multiply<G>(count, depth_, rounded(d, s, row), rounded_stride(), weights,
                          reinterpret_cast<float*>(&sums[0][0]), sizeof sums[0], false);
      else
        for (int g = 0; g < G; g += kTogether, weights += depth_ * kTogether * lanes) {
          Vector<T> part[M][kTogether] = {};
          multiply<T, M, kTogether>(depth_, state(d, s, row), stride, weights, part);
          for (int m = 0; m < M; ++m)
            for (int j = 0; j < kTogether; ++j) sums[m][g + j] = part[m][j];
        }
    }
    for (int m = 0; m < count; ++m) {
      const long b = row + m;
      S* output = a.output + at(b, t, a.directions * a.units) + d * a.units + u;
      T* next = state(d, s + 1, b) + u;
      const Vector<T> before = load(state(d, s, b) + u);
      if (!this->real(b, t)) {
        store(next, before);
        if constexpr (Tiled) store(rounded(d, s + 1, b) + u, before);
        const long ago = this->time_of(d, s - 1) - t;
        const bool repeats = a.hold && s > 0;
        store(output, repeats ? load(output + ago * a.directions * a.units, w) : Vector<T>{}, w);
        if (Cell::has_cell && a.cells[d]) store(a.cells[d] + at(b, t, a.units) + u, load(cell(d, b) + u), w);
        continue;
      }
      ForwardUnits<S, T> one;
      one.state = before;
      if (Cell::has_cell) one.cell = load(cell(d, b) + u);
      one.projected = a.projected[d] + at(b, t, gates) + u;
      one.bias = Cell::has_product ? a.bias[d] + u : nullptr;
      one.gates = a.gates[d] ? a.gates[d] + at(b, t, gates) + u : nullptr;
      one.units = a.units;
      one.width = w;
      Cell::template forward<S, T>(sums[m], one);
      store(next, one.state);
      if constexpr (Tiled) store(rounded(d, s + 1, b) + u, one.state);
      store(output, one.state, w);
      if (Cell::has_cell) store(cell(d, b) + u, one.cell);
      if ((Cell::has_cell || Cell::has_product) && a.cells[d]) store(a.cells[d] + at(b, t, a.units) + u, one.cell, w);
    }
  }

  const long depth_;
  Buffer<P> panels_;
  Buffer<T> states_;
  Buffer<bfloat16> rounded_;  // the states as the tiles take them
  Buffer<T> cells_;
};

}  // namespace nlp_rnn
