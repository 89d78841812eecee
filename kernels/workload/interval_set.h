// A set of indices kept as sorted, disjoint, non-touching intervals. Not thread-safe; copyable.
//
// Every operation costs O(log k + m) for k intervals held and m intervals touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "kernels/workload/interval.h"

namespace potluck {

class IntervalSet {
 public:
  IntervalSet() = default;
  IntervalSet(std::initializer_list<Interval> intervals);

  void Add(Interval interval);
  void Add(const IntervalSet& other);
  void Remove(Interval interval);
  void Remove(const IntervalSet& other);
  void Clear();

  bool empty() const { return by_begin_.empty(); }
  // Number of indices in the set.
  uint64_t size() const { return size_; }
  // Number of maximal intervals.
  size_t interval_count() const { return by_begin_.size(); }

  bool Contains(Interval interval) const;
  bool Overlaps(Interval interval) const;
  // The first interval by position; the set must not be empty.
  Interval front() const;
  // The maximal intervals, ascending.
  std::vector<Interval> Intervals() const;
  // What of `interval` is in the set.
  IntervalSet Intersect(Interval interval) const;
  // What of `interval` is not in the set.
  IntervalSet Complement(Interval interval) const;

  friend bool operator==(const IntervalSet& a, const IntervalSet& b) { return a.by_begin_ == b.by_begin_; }

 private:
  using Map = std::map<uint64_t, uint64_t>;  // begin -> end
  // The first interval that ends after `position`.
  Map::const_iterator FirstEndingAfter(uint64_t position) const;

  Map by_begin_;
  uint64_t size_ = 0;
};

// "[0, 3) [5, 9)", for messages and tests.
std::string ToString(const IntervalSet& set);

}  // namespace potluck
