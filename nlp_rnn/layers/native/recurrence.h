// What the time loops share: how work is dealt out, and the memory they work in.
//
// It is divided first by direction, then by rows of the batch, which need not know of each other, and where the
// recurrent kernel is too large for a core's cache or rows are few, by units, which meet once a step.
#pragma once

#include <algorithm>
#include <cstdlib>
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

// How the work is divided: that of a direction into `groups` of rows times `slices` of units.
struct Plan {
  int directions, groups, slices;  // directions at once
  long blocks;                     // vectors of units

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

// One part of a direction.
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

constexpr int kRows = 12;  // multiplied at once, at most

// The two time loops share this: sizes, the plan and the rows of a step that are real.
template <typename Cell, typename T, typename Arguments>
class Loop {
 protected:
  static constexpr int lanes = Simd<T>::lanes, G = Cell::gates;

  Loop(const Arguments& arguments, int threads)
      : a(arguments),
        plan(Plan::make<T>(arguments, G, threads)),
        padded(plan.blocks * lanes),
        stride(padded + lanes) {}  // no power of two: rows would share their cache sets

  // With as many threads as the plan has: pack(direction, place) for all, then for each direction and group
  // work(direction, its phases, own slice, places by slice).
  template <typename Pack, typename Work>
  void run(Pack&& pack, Work&& work) {
    const int parts = plan.per_direction(), jobs = a.directions * plan.groups;
    std::vector<Place> places;
    for (int part = 0; part < parts; ++part) places.emplace_back(plan, a.batch, part);
    Phases taken(jobs);
    std::vector<Phases> packed, steps;
    for (int d = 0; d < a.directions; ++d) packed.emplace_back(parts);
    for (int job = 0; job < jobs; ++job) steps.emplace_back(plan.slices);
    Team::instance().run(plan.threads(), [&](int thread) {
      const auto one = [&](int job) {
        const int d = job / plan.groups;
        packed[d].run(0, thread % parts, [&](int part) { pack(d, places[part]); });
        packed[d].meet(1);
        work(d, steps[job], thread % plan.slices, &places[job % plan.groups * plan.slices]);
      };
      const int own = thread / plan.slices;
      if (plan.slices == 1) return taken.run(0, own, one);  // by one thread from the first step to the last
      for (int i = 0; i < jobs; ++i) one((own + i) % jobs);
    });
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
  const Plan plan;
  const long padded, stride;
};

}  // namespace nlp_rnn
