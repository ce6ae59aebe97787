// What the time loops share: how work is dealt out, and the memory they work in.
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
    // A thread is woken for no less than 4 million operations, and meets others for no less than 2 million a step or,
    // where rows are few and reading the kernel is what takes the time, 256 KiB.
    threads = std::min<double>(threads, step * sizes.time * sizes.directions / 4e6 + 1);
    plan.directions = std::max(std::min(sizes.directions, threads), 1);
    const long each = std::max(threads / plan.directions, 1);
    const bool large = kernel * sizeof(T) > (1L << 20);
    plan.groups = static_cast<int>(std::clamp<long>(sizes.batch / (large ? 32 : 6), 1, each));
    const double worth = std::max(step / 2e6, kernel * sizeof(T) / (1L << 18));
    const long slices = std::min<double>(each / plan.groups, worth);
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

}  // namespace nlp_rnn
