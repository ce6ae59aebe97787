// Matrix products of bfloat16 with sums in float32: on the processor's tiles (Intel AMX), 16 rows at once, or by its
// products of pairs (AVX512-BF16), which read the same layout.
#pragma once

#include "product.h"

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define NLP_RNN_TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__AVX512BF16__) && defined(__AVX512F__)
#define NLP_RNN_PAIRS 1
#endif

namespace nlp_rnn {

constexpr int kTileRows = 16;   // rows of states, and columns of weights, in a tile
constexpr int kTileDepth = 32;  // elements of a row that one instruction multiplies
constexpr int kTileSize = kTileRows * kTileDepth;
constexpr int kTileColumns = 4;  // tiles of sums at most

// Whether the system lets this process use tiles.
inline bool tiles_permitted() {
#if defined(NLP_RNN_TILES)
  static const bool permitted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  return permitted;
#else
  return false;
#endif
}

// Whether bfloat16 is multiplied faster than float32.
inline bool bfloat16_pays() {
#if defined(NLP_RNN_PAIRS)
  return true;
#else
  return tiles_permitted();
#endif
}

// Where a weight lies in its tile: pairs of neighbours in depth side by side.
inline long tile_place(int depth, int column) { return (depth / 2) * kTileDepth + column * 2 + depth % 2; }

#if defined(NLP_RNN_TILES) || defined(NLP_RNN_PAIRS)
constexpr bool kHasTiles = true;
#else
constexpr bool kHasTiles = false;
#endif

// The tiles of a thread, set up for a number of rows and given back at the end.
class Tiles {
 public:
  // sums[m][j] (+)= rows[m] · panel[:, j] for `count` rows and N columns of tiles: rows of `depth` elements, a multiple
  // of 32, `stride` apart; sums `pitch` bytes from row to row; the panel's tiles [depth / 32, N].
  template <int N>
  void multiply(int count, long depth, const bfloat16* rows, long stride, const bfloat16* panel, float* sums,
                long pitch, bool add) {
#if defined(NLP_RNN_TILES)
    if (tiles_permitted()) return on_tiles<N>(count, depth, rows, stride, panel, sums, pitch, add);
#endif
#if defined(NLP_RNN_PAIRS)
    pitch /= sizeof(float);
    split_rows_constant<std::min(kAccumulators / N, kTileRows)>(0, count, [&](long first, auto number) {
      by_pairs<decltype(number)::value, N>(depth, rows + first * stride, stride, panel, sums + first * pitch, pitch,
                                           add);
    });
#endif
  }

#if defined(NLP_RNN_PAIRS)
 private:
  template <int M, int N>
  static void by_pairs(long depth, const bfloat16* rows, long stride, const bfloat16* panel, float* sums, long pitch,
                       bool add) {
    __m512 total[M][N];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) total[m][j] = add ? _mm512_loadu_ps(sums + m * pitch + j * 16) : _mm512_setzero_ps();
    for (long k = 0; k < depth; k += kTileDepth, panel += N * kTileSize)
      for (int pair = 0; pair < kTileDepth; pair += 2) {
        __m512bh weights[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
          const bfloat16* line = panel + j * kTileSize + pair * kTileRows;
          weights[j] = (__m512bh)_mm512_loadu_si512(line);
          __builtin_prefetch(line + N * kTileSize);
        }
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
          int both;
          std::memcpy(&both, rows + m * stride + k + pair, sizeof both);
          const __m512bh value = (__m512bh)_mm512_set1_epi32(both);
#pragma GCC unroll 4
          for (int j = 0; j < N; ++j) total[m][j] = _mm512_dpbf16_ps(total[m][j], value, weights[j]);
        }
      }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) _mm512_storeu_ps(sums + m * pitch + j * 16, total[m][j]);
  }
#endif

#if defined(NLP_RNN_TILES)
 public:
  ~Tiles() {
    if (rows_) _tile_release();
  }

 private:
  template <int N>
  void on_tiles(int count, long depth, const bfloat16* rows, long stride, const bfloat16* panel, float* sums,
                long pitch, bool add) {
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
#endif
};

}  // namespace nlp_rnn
