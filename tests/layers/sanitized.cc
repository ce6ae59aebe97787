// Random recurrences, chains and scans over memory of exactly the size that they need, on one thread and on several,
// for one caller and for three at once; compiled with a sanitizer, which ends the program where memory or threads are
// misused.

#include <cstdio>
#include <deque>
#include <random>
#include <thread>

#include "backward.h"
#include "chain.h"
#include "forward.h"
#include "scan.h"

using namespace nlp_rnn;

namespace {

template <typename T>
class Memory {  // arrays that end where they say
 public:
  explicit Memory(unsigned seed) : random_(seed) {}

  T* zeros(long size) { return arrays_.emplace_back(new T[size > 0 ? size : 1]()).get(); }
  T* numbers(long size) {
    T* array = zeros(size);
    std::uniform_real_distribution<float> values(-1, 1);
    for (long i = 0; i < size; ++i) store_one(array + i, values(random_));
    return array;
  }

 private:
  static void store_one(float* to, float value) { *to = value; }
  static void store_one(double* to, float value) { *to = value; }
  static void store_one(bfloat16* to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t high = static_cast<uint16_t>(bits >> 16);
    std::memcpy(static_cast<void*>(to), &high, 2);
  }

  std::mt19937 random_;
  std::deque<std::unique_ptr<T[]>> arrays_;
};

struct Shape {
  long batch, time, units;
  int directions;
  bool hold, masked;
};

double value_of(bfloat16 stored) {
  uint16_t high;
  std::memcpy(&high, static_cast<void*>(&stored), 2);
  const uint32_t bits = static_cast<uint32_t>(high) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
double value_of(double stored) { return stored; }

template <typename S>
void append(std::vector<double>& results, const S* data, long size) {
  for (long i = 0; i < size; ++i) results.push_back(value_of(data[i]));
}

// The results of both time loops, behind each other.
template <typename Cell, typename S, typename T, bool Tiled>
std::vector<double> recur(const Shape& shape, int threads, unsigned seed) {
  Memory<S> stored(seed);
  Memory<T> held(seed + 1);
  const long B = shape.batch, N = shape.time, U = shape.units, D = shape.directions, G = Cell::gates;
  std::unique_ptr<bool[]> mask(new bool[B * N]);
  std::mt19937 random(seed + 2);
  for (long i = 0; i < B * N; ++i) mask[i] = random() % 4 != 0;
  Forward<S, T> f;
  Backward<S, T> b;
  static_cast<Sizes&>(f) = static_cast<Sizes&>(b) = Sizes{B, N, U, shape.directions, shape.hold};
  f.mask = b.mask = shape.masked ? mask.get() : nullptr;
  f.state = b.state = held.numbers(B * D * U);
  f.cell = b.cell = held.numbers(B * D * U);
  f.output = stored.zeros(B * N * D * U);
  b.output = f.output;
  f.last_state = held.zeros(B * D * U);
  f.last_cell = held.zeros(B * D * U);
  b.d_output = stored.numbers(B * N * D * U);
  b.d_last_state = held.numbers(B * D * U);
  b.d_last_cell = held.numbers(B * D * U);
  b.d_state = held.zeros(B * D * U);
  b.d_cell = held.zeros(B * D * U);
  for (int d = 0; d < D; ++d) {
    f.projected[d] = stored.numbers(B * N * G * U);
    f.kernel[d] = b.kernel[d] = stored.numbers(U * G * U);
    f.bias[d] = stored.numbers(U);
    f.reversed[d] = b.reversed[d] = d == 1;
    b.gates[d] = f.gates[d] = stored.zeros(B * N * G * U);
    b.cells[d] = f.cells[d] = stored.zeros(B * N * U);
    b.d_projected[d] = stored.zeros(B * N * G * U);
    b.before[d] = stored.zeros(B * N * U);
    b.d_product[d] = stored.zeros(B * N * U);
  }
  ForwardLoop<Cell, S, T, Tiled>(f, threads).run();
  BackwardLoop<Cell, S, T, Tiled>(b, threads).run();
  std::vector<double> results;
  const auto add = [&](const auto* data, long size) { append(results, data, size); };
  add(f.output, B * N * D * U);
  add(f.last_state, B * D * U);
  add(b.d_state, B * D * U);
  for (int d = 0; d < D; ++d) add(b.d_projected[d], B * N * G * U);
  return results;
}

template <typename T>
std::vector<double> chain(const Shape& shape, int threads, unsigned seed) {
  Memory<T> memory(seed);
  const long tags = shape.units % 20 + 1, pairs = shape.batch * shape.time * tags * tags;
  Chain<T> c{shape.batch, shape.time, tags, memory.numbers(pairs), memory.zeros(shape.batch), memory.zeros(pairs)};
  chain_sums(c, threads);
  std::vector<double> results;
  append(results, c.pairs, pairs);
  return results;
}

// Few units and many steps, so that threads share time as well.
template <typename Cell, typename S, typename T>
std::vector<double> scan(const Shape& shape, int threads, unsigned seed) {
  Memory<S> stored(seed);
  Memory<T> held(seed + 1);
  const long B = shape.batch, N = 40 * shape.time, U = shape.units % 40 + 1, G = Cell::gates, P = parameters_of<Cell>();
  std::unique_ptr<bool[]> mask(new bool[B * N]);
  std::mt19937 random(seed + 2);
  for (long i = 0; i < B * N; ++i) mask[i] = random() % 4 != 0;
  T* parameters = held.numbers(P * U);
  for (long i = G * U; i < P * U; ++i) parameters[i] = std::abs(parameters[i]);  // a decay
  ScanForward<S, T> f;
  static_cast<Scan<S, T>&>(f) = Scan<S, T>{B,
                                           N,
                                           U,
                                           shape.hold,
                                           stored.numbers(B * N * G * U),
                                           stored.numbers(Cell::has_skip ? B * N * U : 0),
                                           parameters,
                                           held.numbers(B * U),
                                           shape.masked ? mask.get() : nullptr};
  f.output = stored.zeros(B * N * U);
  f.states = Cell::has_output ? stored.zeros(B * N * U) : nullptr;
  f.last_output = held.zeros(B * U);
  f.last_state = held.zeros(B * U);
  ScanBackward<S, T> b;
  static_cast<Scan<S, T>&>(b) = f;
  b.states = Cell::has_output ? f.states : f.output;
  b.d_output = stored.numbers(B * N * U);
  b.d_last_output = held.numbers(B * U);
  b.d_last_state = held.numbers(B * U);
  b.d_projected = stored.zeros(B * N * G * U);
  b.d_skip = stored.zeros(Cell::has_skip ? B * N * U : 0);
  b.d_parameters = held.zeros(B * P * U);
  b.d_state = held.zeros(B * U);
  run_scan<Cell>(f, threads);
  run_scan<Cell>(b, threads);
  std::vector<double> results;
  const auto add = [&](const auto* data, long size) { append(results, data, size); };
  add(f.output, B * N * U);
  add(f.last_state, B * U);
  add(b.d_projected, B * N * G * U);
  add(b.d_parameters, B * P * U);
  add(b.d_state, B * U);
  return results;
}

struct Job {
  std::vector<double> (*run)(const Shape&, int, unsigned);
  double
      tolerance;  // relative: rows are taken together otherwise by other threads, so that sums may be rounded otherwise
};
constexpr Job kJobs[] = {
    {&recur<SimpleCell<Tanh>, float, float, false>, 1e-3},
    {&recur<SimpleCell<Relu>, double, double, false>, 1e-9},
    {&recur<GruCell, float, float, false>, 1e-3},
    {&recur<GruCell, bfloat16, float, false>, 0.1},
    {&recur<LstmCell, float, float, false>, 1e-3},
    {&recur<LstmCell, double, double, false>, 1e-9},
    {&recur<LstmCell, bfloat16, float, false>, 0.1},
    {&scan<MinGruCell, float, float>, 1e-3},
    {&scan<MinLstmCell, double, double>, 1e-9},
    {&scan<SruCell, float, float>, 1e-3},
    {&scan<QrnnCell, bfloat16, float>, 0.1},
    {&scan<RgLruCell, float, float>, 1e-3},
    {&chain<float>, 1e-4},
    {&chain<double>, 1e-9},
};

bool agrees(unsigned seed) {
  std::mt19937 random(seed);
  const auto up_to = [&](long most) { return static_cast<long>(1 + random() % most); };
  const bool few_rows = random() % 2;
  const Shape shape{few_rows ? up_to(3) : up_to(40), up_to(9),          few_rows ? 200 + up_to(200) : up_to(70),
                    static_cast<int>(up_to(2)),      random() % 2 == 0, random() % 2 == 0};
  const Job& job = kJobs[random() % std::size(kJobs)];
  const std::vector<double> alone = job.run(shape, 1, seed);
  for (int threads : {2, 3, 8}) {
    const std::vector<double> first = job.run(shape, threads, seed), second = job.run(shape, threads, seed);
    double largest = 0;
    for (size_t i = 0; i < alone.size(); ++i)
      largest = std::max(largest, std::abs(first[i] - alone[i]) / std::max(1.0, std::abs(alone[i])));
    if (first == second && largest < job.tolerance) continue;
    std::fprintf(stderr, "seed %u: %d threads differ from one by %g, and %s\n", seed, threads, largest,
                 first == second ? "always give the same" : "from time to time");
    return false;
  }
  return true;
}

}  // namespace

int main(int, char** arguments) {
  const unsigned count = static_cast<unsigned>(std::atoi(arguments[1]));
  std::atomic<int> wrong{0};
  for (unsigned seed = 0; seed < count; ++seed) wrong += !agrees(seed);
  std::vector<std::thread> callers;
  for (unsigned caller = 1; caller <= 3; ++caller)
    callers.emplace_back([&, caller] {
      for (unsigned seed = 0; seed < count; ++seed) wrong += !agrees(1000 * caller + seed);
    });
  for (std::thread& caller : callers) caller.join();
  return wrong != 0;
}
