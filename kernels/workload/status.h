// Error handling for kernels/, which builds without abseil.
//
// A Status is Ok or one sentence that a user can act on: it names what is wrong, the value that was found and what is
// allowed. Result<T> is a value or such a status. Nothing in kernels/ throws across an interface.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace potluck {

class [[nodiscard]] Status {
 public:
  Status() = default;
  static Status Error(std::string sentence) {
    Status status;
    status.message_ = std::move(sentence);
    return status;
  }

  bool ok() const { return !message_.has_value(); }
  // The sentence; empty when ok.
  const std::string& message() const {
    static const std::string kEmpty;
    return message_ ? *message_ : kEmpty;
  }

 private:
  std::optional<std::string> message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor): reads as a return value
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor): must not be Ok

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  const T& value() const& { return *value_; }
  T& value() & { return *value_; }
  T&& value() && { return *std::move(value_); }
  const T& operator*() const& { return *value_; }
  T& operator*() & { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  const T* operator->() const { return &*value_; }
  T* operator->() { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace potluck
