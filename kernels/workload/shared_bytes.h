// Immutable bytes that several may hold: copies share them, the last holder frees them. Thread-safe as a shared_ptr is.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace potluck {

class SharedBytes {
 public:
  SharedBytes() = default;
  explicit SharedBytes(std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    view_ = *owner;
    owner_ = std::move(owner);
  }
  // Bytes that live as long as `owner`, and do not change meanwhile.
  SharedBytes(std::shared_ptr<const void> owner, std::string_view bytes) : owner_(std::move(owner)), view_(bytes) {}

  std::string_view view() const { return view_; }
  size_t size() const { return view_.size(); }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

// All of them, one after the other.
inline std::string Concatenate(const std::vector<SharedBytes>& parts) {
  std::string bytes;
  size_t size = 0;
  for (const SharedBytes& part : parts) size += part.size();
  bytes.reserve(size);
  for (const SharedBytes& part : parts) bytes.append(part.view());
  return bytes;
}

}  // namespace potluck
