#include "kernels/workload/interval_set.h"

#include <iterator>

namespace potluck {

IntervalSet::IntervalSet(std::initializer_list<Interval> intervals) {
  for (const Interval interval : intervals) Add(interval);
}

IntervalSet::Map::const_iterator IntervalSet::FirstEndingAfter(uint64_t position) const {
  auto it = by_begin_.upper_bound(position);
  if (it != by_begin_.begin()) {
    const auto previous = std::prev(it);
    if (previous->second > position) return previous;
  }
  return it;
}

void IntervalSet::Add(Interval interval) {
  if (interval.empty()) return;
  // Swallow every interval that overlaps or touches the new one, so that the set stays maximal.
  auto it = by_begin_.upper_bound(interval.begin);
  if (it != by_begin_.begin() && std::prev(it)->second >= interval.begin) --it;
  while (it != by_begin_.end() && it->first <= interval.end) {
    interval.begin = std::min(interval.begin, it->first);
    interval.end = std::max(interval.end, it->second);
    size_ -= it->second - it->first;
    it = by_begin_.erase(it);
  }
  by_begin_.emplace_hint(it, interval.begin, interval.end);
  size_ += interval.size();
}

void IntervalSet::Add(const IntervalSet& other) {
  for (const auto& [begin, end] : other.by_begin_) Add({begin, end});
}

void IntervalSet::Remove(Interval interval) {
  if (interval.empty()) return;
  auto it = FirstEndingAfter(interval.begin);
  while (it != by_begin_.end() && it->first < interval.end) {
    const Interval held{it->first, it->second};
    size_ -= held.size();
    it = by_begin_.erase(it);
    if (held.begin < interval.begin) {
      by_begin_.emplace_hint(it, held.begin, interval.begin);
      size_ += interval.begin - held.begin;
    }
    if (held.end > interval.end) {
      it = by_begin_.emplace_hint(it, interval.end, held.end);
      size_ += held.end - interval.end;
    }
  }
}

void IntervalSet::Remove(const IntervalSet& other) {
  for (const auto& [begin, end] : other.by_begin_) Remove({begin, end});
}

void IntervalSet::Clear() {
  by_begin_.clear();
  size_ = 0;
}

bool IntervalSet::Contains(Interval interval) const {
  if (interval.empty()) return true;
  const auto it = FirstEndingAfter(interval.begin);
  return it != by_begin_.end() && it->first <= interval.begin && interval.end <= it->second;
}

bool IntervalSet::Overlaps(Interval interval) const {
  if (interval.empty()) return false;
  const auto it = FirstEndingAfter(interval.begin);
  return it != by_begin_.end() && it->first < interval.end;
}

Interval IntervalSet::front() const { return {by_begin_.begin()->first, by_begin_.begin()->second}; }

std::vector<Interval> IntervalSet::Intervals() const {
  std::vector<Interval> intervals;
  intervals.reserve(by_begin_.size());
  for (const auto& [begin, end] : by_begin_) intervals.push_back({begin, end});
  return intervals;
}

IntervalSet IntervalSet::Intersect(Interval interval) const {
  IntervalSet result;
  if (interval.empty()) return result;
  for (auto it = FirstEndingAfter(interval.begin); it != by_begin_.end() && it->first < interval.end; ++it) {
    result.Add(Intersection(interval, {it->first, it->second}));
  }
  return result;
}

IntervalSet IntervalSet::Complement(Interval interval) const {
  IntervalSet result;
  uint64_t position = interval.begin;
  if (interval.empty()) return result;
  for (auto it = FirstEndingAfter(interval.begin); it != by_begin_.end() && it->first < interval.end; ++it) {
    result.Add({position, std::max(position, it->first)});
    position = it->second;
  }
  if (position < interval.end) result.Add({position, interval.end});
  return result;
}

std::string ToString(const IntervalSet& set) {
  std::string text;
  for (const Interval interval : set.Intervals()) {
    if (!text.empty()) text += ' ';
    text += ToString(interval);
  }
  return text;
}

}  // namespace potluck
