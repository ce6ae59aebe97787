// The time loops, forward and backward, over one or two directions.
//
// Threads are dealt out first over the directions, then over rows of the batch, which need not know of each other, and
// where the recurrent kernel is too large for a core's cache or rows are few, over units, which meet once a step.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <type_traits>
#include <vector>

#include "cells.h"
#include "product.h"
#include "team.h"
#include "tiles.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nlp_rnn {

struct Sizes {
  long batch, time, units;
  int directions;
  bool hold;  // masked outputs repeat the one before, instead of being 0
};

// S is what sequences and weights are stored in, T what states are held and computed in.
template <typename S, typename T>
struct Forward : Sizes {
  const S* projected[2];  // [batch, time, gates · units] each
  const S* kernel[2];     // [units, gates · units]
  const S* bias[2];       // [units], GRU
  const T *state, *cell;  // [batch, directions · units]
  const bool* mask;       // [batch, time] or null
  bool reversed[2];
  S* output;                    // [batch, time, directions · units]
  T *last_state, *last_cell;    // [batch, directions · units]
  S *gates[2], *cells[2];       // kept for the gradient, or null; `gates` may be `projected`
};

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
  S* before[2];       // h before each step, [batch, time, units]
  S* d_product[2];    // GRU; may be `cells`
};

template <typename T>
class Buffer {  // aligned, not cleared; large ones on large pages where the system has them
 public:
  explicit Buffer(long size) {
    const size_t page = size * sizeof(T) < kLarge ? 64 : kLarge, bytes = (size * sizeof(T) + 63 + page) / page * page;
    data_ = static_cast<T*>(std::aligned_alloc(page, bytes));
#if defined(__linux__)
    if (page == kLarge) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  T* get() const { return data_; }
  void clear(long size) { std::memset(static_cast<void*>(data_), 0, size * sizeof(T)); }

 private:
  static constexpr size_t kLarge = 1 << 21;
  T* data_;
};

// Who does what: the threads of a direction are `groups` of rows times `slices` of units.
struct Plan {
  int directions, groups, slices;
  long blocks;  // vectors of units

  template <typename T>
  static Plan make(const Sizes& sizes, int gates, int threads) {
    Plan plan;
    plan.blocks = (sizes.units + Simd<T>::lanes - 1) / Simd<T>::lanes;
    const double kernel = 1.0 * sizes.units * sizes.units * gates, step = 2.0 * sizes.batch * kernel;
    // A thread is woken for no less than 4 million operations, and meets others for no less than 2 million a step.
    threads = std::min<double>(threads, step * sizes.time * sizes.directions / 4e6 + 1);
    plan.directions = std::max(std::min(sizes.directions, threads), 1);
    const long each = std::max(threads / plan.directions, 1);
    const bool large = kernel * sizeof(T) > (1L << 20);
    plan.groups = static_cast<int>(std::clamp<long>(sizes.batch / (large ? 32 : 6), 1, each));
    const long slices = std::min<double>(each / plan.groups, step / 2e6);
    plan.slices = static_cast<int>(std::clamp<long>(slices, 1, plan.blocks));
    return plan;
  }

  int per_direction() const { return groups * slices; }
  int threads() const { return directions * per_direction(); }
};

// The place of one thread in a plan.
struct Place {
  int group, slice;
  long row_begin, row_end, block_begin, block_end;

  Place(const Plan& plan, long batch, int index)
      : group(index / plan.slices),
        slice(index % plan.slices),
        row_begin(batch * group / plan.groups),
        row_end(batch * (group + 1) / plan.groups),
        block_begin(plan.blocks * slice / plan.slices),
        block_end(plan.blocks * (slice + 1) / plan.slices) {}
};

struct Barriers {
  explicit Barriers(const Plan& plan) {
    for (int d = 0; d < plan.directions; ++d) {
      packed.push_back(std::make_unique<Barrier>(plan.per_direction()));
      for (int g = 0; g < plan.groups; ++g) step.push_back(std::make_unique<Barrier>(plan.slices));
    }
  }
  std::vector<std::unique_ptr<Barrier>> packed, step;  // per direction; per direction and group
};

constexpr int kRows = 12;  // multiplied at once, at most

// The two time loops share this: sizes, the plan and the rows of a step that are real.
template <typename Cell, typename T, typename Arguments>
class Loop {
 protected:
  static constexpr int lanes = Simd<T>::lanes, G = Cell::gates;

  Loop(const Arguments& arguments, int threads)
      : a(arguments),
        plan(Plan::make<T>(arguments, G, threads)),
        barriers(plan),
        padded(plan.blocks * lanes),
        stride(padded + lanes) {}  // no power of two: rows would share their cache sets

  // Runs work(direction, place, barrier of the packing, barrier of the step) on every thread of the plan.
  template <typename F>
  void run(F&& work) {
    auto thread = [&](int index) {
      const int d = index / plan.per_direction();
      const Place place(plan, a.batch, index % plan.per_direction());
      for (int direction = d; direction < a.directions; direction += plan.directions)
        work(direction, place, *barriers.packed[d], *barriers.step[d * plan.groups + place.group]);
    };
    if (plan.threads() == 1) return thread(0);
    if (Team::instance().run(plan.threads(), thread)) return;
    plan = Plan::make<T>(a, G, 1);  // another recurrence has the team
    Barriers alone(plan);
    std::swap(barriers.packed, alone.packed);
    std::swap(barriers.step, alone.step);
    thread(0);
  }

  bool real(long row, long t) const { return a.mask == nullptr || a.mask[row * a.time + t]; }

  bool any_real(long row, int count, long t) const {
    for (int m = 0; m < count; ++m)
      if (real(row + m, t)) return true;
    return false;
  }

  int width(long block) const { return static_cast<int>(std::min<long>(lanes, a.units - block * lanes)); }
  long time_of(int d, long step) const { return a.reversed[d] ? a.time - 1 - step : step; }
  long wide(long row) const { return row * a.directions * a.units; }  // into [batch, directions · units]
  long at(long row, long t, long features) const { return (row * a.time + t) * features; }

  const Arguments& a;
  Plan plan;
  Barriers barriers;
  const long padded, stride;
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
    Base::run([this](int d, const Place& place, Barrier& packed, Barrier& step) {
      Tiles tiles;
      pack(d, place);
      start(d, place);
      packed.wait();
      for (long s = 0; s < a.time; ++s) {
        for (long block = place.block_begin; block < place.block_end; ++block)
          if constexpr (Tiled)
            split_rows(kTileRows, place.row_begin, place.row_end,
                       [&](long row, int count) { units<kTileRows>(d, s, row, block, count, tiles); });
          else
            split_rows_constant<std::min(kAccumulators / kTogether, kRows)>(place.row_begin, place.row_end, [&](long row, auto rows) {
              units<decltype(rows)::value>(d, s, row, block, decltype(rows)::value, tiles);
            });
        step.wait();
      }
      finish(d, place);
    });
  }

 private:
  using P = std::conditional_t<Tiled, bfloat16, T>;
  static constexpr int kTogether = G == 4 && !Tiled ? 2 : G;  // gates multiplied at once: more rows then fit beside them

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
    Base::run([this](int d, const Place& place, Barrier& packed, Barrier& step) {
      Tiles tiles;
      pack(d, place);
      start(d, place);
      packed.wait();
      for (long s = a.time - 1; s >= 0; --s) {
        for (long row = place.row_begin; row < place.row_end; ++row)
          for (long block = place.block_begin; block < place.block_end; ++block) units(d, s, row, block);
        step.wait();
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
      finish(d, place);
    });
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
              to[(i / kTileDepth * columns + j / lanes) * kTileSize + tile_place(i % kTileDepth, j % lanes)] = line[i - k];
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
      split_rows_constant<std::min(kAccumulators / kColumns, kRows)>(place.row_begin, place.row_end, [&](long row, auto rows) {
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
