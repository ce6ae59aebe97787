// The forward-backward algorithm of a linear chain: log Z and the probabilities of its steps.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "simd.h"
#include "team.h"

namespace nlp_rnn {

template <typename T>
struct Chain {
  long batch, time, tags;
  const T* scores;  // [batch, time, tags, tags]
  T* total;         // [batch]
  T* pairs;         // [batch, time, tags, tags]
};

template <typename T>
class ChainSums {
  using V = Vector<T>;
  static constexpr int lanes = Simd<T>::lanes;

 public:
  ChainSums(const Chain<T>& chain) : c_(chain), padded_((chain.tags + lanes - 1) / lanes * lanes) {
    alphas_.resize((c_.time + 1) * padded_);
    beta_.resize(2 * padded_);
  }

  // α forward, kept; β backward, from which the probabilities follow at once.
  void run(long row) {
    const long K = c_.tags, square = K * K;
    const T* scores = c_.scores + row * c_.time * square;
    T* pairs = c_.pairs + row * c_.time * square;
    std::fill(alphas_.begin(), alphas_.begin() + padded_, T(0));
    for (long t = 0; t < c_.time; ++t) forward(scores + t * square, &alphas_[t * padded_], &alphas_[(t + 1) * padded_]);
    const T* last = &alphas_[c_.time * padded_];
    const T highest = *std::max_element(last, last + K);
    T sum = 0;
    for (long j = 0; j < K; ++j) sum += std::exp(last[j] - highest);
    const T total = c_.total[row] = highest + std::log(sum);
    T *after = &beta_[0], *before = &beta_[padded_];
    std::fill(after, after + padded_, T(0));
    for (long t = c_.time - 1; t >= 0; --t) {
      backward(scores + t * square, &alphas_[t * padded_], after, total, before, pairs + t * square);
      std::swap(after, before);
    }
  }

 private:
  // to[j] = log Σ_i exp(from[i] + scores[i, j])
  void forward(const T* scores, const T* from, T* to) {
    const long K = c_.tags;
    for (long j = 0; j < K; j += lanes) {
      const int width = static_cast<int>(std::min<long>(lanes, K - j));
      V highest = load(scores + j, width) + from[0];
      for (long i = 1; i < K; ++i) highest = larger(highest, load(scores + i * K + j, width) + from[i]);
      V sum = {};
      for (long i = 0; i < K; ++i) sum += exponential(load(scores + i * K + j, width) + from[i] - highest);
      for (int k = 0; k < width; ++k) to[j + k] = highest[k] + std::log(sum[k]);
    }
  }

  // before[i] = log Σ_j exp(scores[i, j] + after[j]);  pairs[i, j] = exp(from[i] + scores[i, j] + after[j] - total)
  void backward(const T* scores, const T* from, const T* after, T total, T* before, T* pairs) {
    const long K = c_.tags;
    for (long i = 0; i < K; ++i) {
      const T* row = scores + i * K;
      T highest = row[0] + after[0];
      for (long j = 1; j < K; ++j) highest = std::max(highest, row[j] + after[j]);
      const T shift = from[i] + highest - total;
      V sum = {};
      for (long j = 0; j < K; j += lanes) {
        const int width = static_cast<int>(std::min<long>(lanes, K - j));
        V terms = exponential(load(row + j, width) + load(after + j, width) - highest);
        for (int k = width; k < lanes; ++k) terms[k] = 0;
        sum += terms;
        store(pairs + i * K + j, terms, width);
      }
      T all = 0;
      for (int k = 0; k < lanes; ++k) all += sum[k];
      before[i] = highest + std::log(all);
      const T factor = std::exp(shift);  // at most 1: no path is more than all of them
      for (long j = 0; j < K; ++j) pairs[i * K + j] *= factor;
    }
  }

  const Chain<T>& c_;
  const long padded_;
  std::vector<T> alphas_, beta_;
};

template <typename T>
void chain_sums(const Chain<T>& chain, int threads) {
  const int members = static_cast<int>(std::max<long>(1, std::min<long>(threads, chain.batch / 4)));
  std::atomic<long> next{0};
  Team::instance().run(members, [&](int) {
    ChainSums<T> sums(chain);
    for (long row = next++; row < chain.batch; row = next++) sums.run(row);
  });
}

}  // namespace nlp_rnn
