// Threads that run one recurrence together.
#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nlp_rnn {

inline int threads = 1;  // that one operation may use

// Work in `count` parts that goes through phases, each part of a phase done by whichever thread comes first.
class Phases {
 public:
  explicit Phases(int count) : parts_(count) {}

  // Does `work(part)` of this phase for every part that nobody has begun, `own` first.
  template <typename F>
  void run(long phase, int own, F&& work) {
    const int count = static_cast<int>(parts_.size());
    for (int i = 0; i < count; ++i) {
      const int index = (own + i) % count;
      Part& part = parts_[index];
      long expected = phase;
      if (part.begun.load(std::memory_order_relaxed) != phase) continue;
      if (!part.begun.compare_exchange_strong(expected, phase + 1, std::memory_order_relaxed)) continue;
      wait(part, phase);
      work(index);
      part.ended.store(phase + 1, std::memory_order_release);
    }
  }

  // Waits until all parts have gone through the phases before this one.
  void meet(long phase) {
    for (Part& part : parts_) wait(part, phase);
  }

 private:
  struct Part {
    alignas(64) std::atomic<long> begun{0};
    std::atomic<long> ended{0};
  };

  // It spins, since steps take microseconds, and yields when a thread is late.
  static void wait(const Part& part, long phase) {
    for (int spins = 0; part.ended.load(std::memory_order_acquire) < phase; ++spins) {
      if (spins > 1024) {
        std::this_thread::yield();
      } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }
  }

  std::vector<Part> parts_;
};

// Threads that help. The caller works too and needs none of them, so that no thread that the system is slow to run
// holds it up.
class Team {
 public:
  static Team& instance() {
    static std::mutex guard;
    static Team* team = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(guard);
    if (team == nullptr || owner != getpid()) {  // a forked process has no threads but its own
      team = new Team();
      owner = getpid();
    }
    return *team;
  }

  // Runs work(0), which ends when all is done or begun, and beside it work(1) … work(members - 1) on threads of their
  // own, those that come in time, unless the team helps another caller.
  void run(int members, const std::function<void(int)>& work) {
    std::unique_lock<std::mutex> free(busy_, std::defer_lock);
    if (members == 1 || !free.try_lock()) return work(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(threads_.size()) < members - 1) {
        const int index = static_cast<int>(threads_.size()) + 1;
        threads_.emplace_back([this, index, seen = generation_] { serve(index, seen); });
        threads_.back().detach();
      }
      work_ = &work;
      members_ = members;
      ++generation_;
    }
    wake_.notify_all();
    work(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = nullptr;
    }
    while (inside_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  }

 private:
  void serve(int index, long seen) {
    for (;;) {
      const std::function<void(int)>* work = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        if (index < members_) work = work_;
        if (work != nullptr) inside_.fetch_add(1, std::memory_order_relaxed);
      }
      if (work == nullptr) continue;
      (*work)(index);
      inside_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* work_ = nullptr;
  int members_ = 0;
  long generation_ = 0;
  std::atomic<int> inside_{0};  // of the threads that help
};

}  // namespace nlp_rnn
