// Runs a function on several threads at once and waits for all of them.
//
// By OpenMP, whose pool keeps its threads between calls. Under ThreadSanitizer by std::thread instead: libgomp is not
// instrumented, so its barriers are invisible there and every hand-over would be reported as a race; this way the
// sanitizer checks the code that runs in the threads. Where the compiler has no OpenMP, std::thread serves too.
#pragma once

#if defined(__has_feature)  // clang
#if __has_feature(thread_sanitizer)
#define POTLUCK_PARALLEL_THREADS 1
#endif
#endif
#if !defined(_OPENMP) || defined(__SANITIZE_THREAD__)
#define POTLUCK_PARALLEL_THREADS 1
#endif

#ifdef POTLUCK_PARALLEL_THREADS
#include <thread>
#include <vector>
#endif

namespace potluck {

// Calls function(i) once for each i in [0, threads), each on a thread of its own; i = 0 may be the caller's. `function`
// must not throw and must not wait for another call of it: OpenMP may grant fewer threads, then calls share one.
template <typename Function>
void RunOnThreads(int threads, const Function& function) {
#ifndef POTLUCK_PARALLEL_THREADS
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int i = 0; i < threads; ++i) function(i);
#else
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([&function, i] { function(i); });
  function(0);
  for (std::thread& other : others) other.join();
#endif
}

}  // namespace potluck
