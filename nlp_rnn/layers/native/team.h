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

// Lets `members` threads meet once a time step. It spins, since steps take microseconds, and yields when one is late.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}

  void wait() {
    if (members_ == 1) return;
    const int phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == members_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
      if (spins > 4096) {
        std::this_thread::yield();
      } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }
  }

 private:
  const int members_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> phase_{0};
};

// Threads that wait for work. One job runs at a time; `run` by a second caller meanwhile is told so.
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

  // Runs work(0) … work(members - 1), each on a thread of its own. False if the team is busy: nothing was run.
  bool run(int members, const std::function<void(int)>& work) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(threads_.size()) < members - 1) {
        const int index = static_cast<int>(threads_.size()) + 1;
        threads_.emplace_back([this, index, seen = generation_] { serve(index, seen); });
        threads_.back().detach();
      }
      work_ = &work;
      members_ = members;
      left_.store(members - 1, std::memory_order_relaxed);
      ++generation_;
    }
    wake_.notify_all();
    work(0);
    while (left_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    return true;
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
      }
      if (work == nullptr) continue;
      (*work)(index);
      left_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* work_ = nullptr;
  int members_ = 0;
  long generation_ = 0;
  std::atomic<int> left_{0};
};

}  // namespace nlp_rnn
