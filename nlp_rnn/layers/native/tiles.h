// Matrix products of bfloat16 on the processor's tiles (Intel AMX): 16 rows at once, sums in float32.
#pragma once

#include "simd.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define NLP_RNN_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace nlp_rnn {

constexpr int kTileRows = 16;     // rows of states, and columns of weights, in a tile
constexpr int kTileDepth = 32;    // elements of a row that one instruction multiplies
constexpr int kTileSize = kTileRows * kTileDepth;
constexpr int kTileColumns = 4;   // tiles of sums at most

// Whether the system lets this process use tiles.
inline bool tiles_permitted() {
#if defined(NLP_RNN_TILES)
  static const bool permitted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  return permitted;
#else
  return false;
#endif
}

// Where a weight lies in its tile: pairs of neighbours in depth side by side.
inline long tile_place(int depth, int column) { return (depth / 2) * kTileDepth + column * 2 + depth % 2; }

#if defined(NLP_RNN_TILES)
constexpr bool kHasTiles = true;

// The tiles of a thread, set up for a number of rows and given back at the end.
class Tiles {
 public:
  ~Tiles() {
    if (rows_) _tile_release();
  }

  // sums[m][j] (+)= rows[m] · panel[:, j] for `count` rows and N columns of tiles: rows of `depth` elements, a multiple
  // of 32, `stride` apart; sums `pitch` bytes from row to row; the panel's tiles [depth / 32, N].
  template <int N>
  void multiply(int count, long depth, const bfloat16* rows, long stride, const bfloat16* panel, float* sums, long pitch,
                bool add) {
    configure(count);
    if (add) {
      _tile_loadd(0, sums, pitch);
      if constexpr (N > 1) _tile_loadd(1, sums + 16, pitch);
      if constexpr (N > 2) _tile_loadd(2, sums + 32, pitch);
      if constexpr (N > 3) _tile_loadd(3, sums + 48, pitch);
    } else {
      _tile_zero(0);
      if constexpr (N > 1) _tile_zero(1);
      if constexpr (N > 2) _tile_zero(2);
      if constexpr (N > 3) _tile_zero(3);
    }
    for (long k = 0; k < depth; k += kTileDepth, panel += N * kTileSize) {
      _tile_loadd(4, rows + k, stride * sizeof(bfloat16));
      _tile_loadd(5, panel, 64);
      _tile_dpbf16ps(0, 4, 5);
      if constexpr (N > 1) {
        _tile_loadd(6, panel + kTileSize, 64);
        _tile_dpbf16ps(1, 4, 6);
      }
      if constexpr (N > 2) {
        _tile_loadd(7, panel + 2 * kTileSize, 64);
        _tile_dpbf16ps(2, 4, 7);
      }
      if constexpr (N > 3) {
        _tile_loadd(5, panel + 3 * kTileSize, 64);
        _tile_dpbf16ps(3, 4, 5);
      }
    }
    _tile_stored(0, sums, pitch);
    if constexpr (N > 1) _tile_stored(1, sums + 16, pitch);
    if constexpr (N > 2) _tile_stored(2, sums + 32, pitch);
    if constexpr (N > 3) _tile_stored(3, sums + 48, pitch);
  }

 private:
  void configure(int rows) {
    if (rows == rows_) return;
    struct {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {};
    } settings;
    for (int tile = 0; tile < 8; ++tile) settings.rows[tile] = tile < 5 ? rows : kTileRows;
    _tile_loadconfig(&settings);
    rows_ = rows;
  }

  int rows_ = 0;
};

#else
constexpr bool kHasTiles = false;

struct Tiles {
  template <int N, typename... Arguments>
  void multiply(Arguments...) {}
};

#endif

}  // namespace nlp_rnn
