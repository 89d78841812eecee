#include "coordinator/front_door.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "coordinator/client_hello.h"
#include "coordinator/listener.h"

namespace potluck {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Descriptor = asio::posix::stream_descriptor;

// A fatal TLS alert: protocol_version (RFC 8446, section 6.2).
constexpr absl::string_view kProtocolVersionAlert("\x15\x03\x03\x00\x02\x02\x46", 7);
constexpr absl::string_view kUseTls =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 98\r\nConnection: "
    "close\r\n\r\n"
    "This port of a Potluck coordinator speaks TLS only: use https:// in a browser, or `potluck join`.\n";
constexpr int kAcceptsInARow = 64;
constexpr size_t kMaxDrained = 64 * 1024;
constexpr std::chrono::milliseconds kAcceptPause(100);
constexpr std::chrono::milliseconds kPeekPause(20);
constexpr std::chrono::seconds kDrainDeadline(2);

enum class Decision { kWait, kGrpc, kWeb, kOldTls, kPlainHttp, kGarbage };

bool IsPlainHttp(absl::string_view bytes) {
  for (absl::string_view method :
       {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI "}) {
    if (absl::StartsWith(bytes, method)) return true;
  }
  return false;
}

// All capitals so far: may become the method of an HTTP request.
bool MayBecomeHttp(absl::string_view bytes) {
  return bytes.size() < 8 && std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// `needed` is set for kWait: how many bytes to wait for.
Decision Decide(absl::string_view bytes, size_t& needed) {
  if (IsPlainHttp(bytes)) return Decision::kPlainHttp;
  needed = bytes.size() + 1;
  if (MayBecomeHttp(bytes)) return Decision::kWait;
  const ClientHello hello = ParseClientHello(bytes);
  if (hello.state == ClientHello::State::kNotTls) return Decision::kGarbage;
  needed = hello.needed;
  if (hello.state == ClientHello::State::kNeedsMore) return Decision::kWait;
  if (!hello.offers_tls13) return Decision::kOldTls;
  auto offers = [&](absl::string_view protocol) {
    return std::find(hello.alpn.begin(), hello.alpn.end(), protocol) != hello.alpn.end();
  };
  return offers("h2") && !offers("http/1.1") ? Decision::kGrpc : Decision::kWeb;
}

// The socket reports readable only once `bytes` are there, so that a slow ClientHello costs no wake-ups.
void SetLowWaterMark(int fd, size_t bytes) {
  const int value = static_cast<int>(bytes);
  setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

bool HasHungUp(int fd) {
  pollfd state{fd, POLLRDHUP, 0};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

std::chrono::nanoseconds ToChrono(absl::Duration duration) { return absl::ToChronoNanoseconds(duration); }

}  // namespace

// All but the counts and the flags of Start and Stop belongs to the door's thread (before Start and after Stop: to the
// caller). Handlers hold a shared_ptr to their connection and do nothing once it is not `open`.
class FrontDoor::Impl {
 public:
  Impl(FrontDoorOptions options, Listener listener) : options_(std::move(options)), listener_(std::move(listener)) {
    buffer_.resize(kMaxClientHelloBytes);
  }

  ~Impl() { Stop(); }

  // Takes over the listening sockets, once.
  error_code Open() {
    error_code error;
    for (int fd : listener_.sockets) {
      gates_.push_back(std::make_unique<Gate>(context_));
      if (!error) gates_.back()->socket.assign(fd, error);
      if (error) close(fd);
    }
    return error;
  }

  void AddAcceptor(grpc::ServerBuilder& builder, std::shared_ptr<grpc::ServerCredentials> credentials) {
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, std::move(credentials));
  }

  void Start() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (started_ || stopped_) return;
    started_ = true;
    for (auto& gate : gates_) WaitForAccept(*gate);
    thread_ = std::thread([this] { context_.run(); });
  }

  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock stopping(&stop_mutex_);
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
    }
    context_.stop();
    if (thread_.joinable()) thread_.join();
    while (!undecided_.empty()) Close(undecided_.front());
    error_code ignored;
    for (auto& gate : gates_) gate->socket.close(ignored);
  }

  const Listener& listener() const { return listener_; }

  FrontDoorCounts counts() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return counts_;
  }

 private:
  struct Gate {  // One listening socket.
    explicit Gate(asio::io_context& context) : socket(context), pause(context) {}
    Descriptor socket;
    asio::steady_timer pause;
  };

  struct Connection {
    explicit Connection(asio::io_context& context) : socket(context), deadline(context), pause(context) {}
    Descriptor socket;
    asio::steady_timer deadline, pause;
    size_t seen = 0;       // Bytes at the last look.
    size_t drained = 0;    // Bytes thrown away since it was told to leave.
    bool leaving = false;  // It has its answer; what it still sends is thrown away.
    bool open = true;
    std::list<std::shared_ptr<Connection>>::iterator place;
  };
  using Ptr = std::shared_ptr<Connection>;

  void Count(uint64_t FrontDoorCounts::*what) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    ++(counts_.*what);
  }

  void Log(const std::string& message) {
    if (options_.log) options_.log(message);
  }

  void WaitForAccept(Gate& gate) {
    gate.socket.async_wait(Descriptor::wait_read, [this, &gate](error_code error) {
      if (error != asio::error::operation_aborted) Accept(gate);
    });
  }

  void Accept(Gate& gate) {
    for (int i = 0; i < kAcceptsInARow; ++i) {
      const int fd = accept4(gate.socket.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Admit(fd);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK || !HasConnection(gate)) {
        break;
      } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
        PauseAccepting(gate, errno);
        return;
      }
    }
    WaitForAccept(gate);
  }

  // Without a free descriptor accept fails whether or not somebody waits. Keeps errno.
  static bool HasConnection(Gate& gate) {
    const int error = errno;
    pollfd entry{gate.socket.native_handle(), POLLIN, 0};
    const bool has_one = poll(&entry, 1, 0) != 0;
    errno = error;
    return has_one;
  }

  // Out of descriptors or memory: the oldest undecided connection makes room, and the queue is tried again soon.
  void PauseAccepting(Gate& gate, int error) {
    Log(absl::StrCat("cannot accept connections for a moment: ", strerror(error)));
    CrowdOut();
    gate.pause.expires_after(kAcceptPause);
    gate.pause.async_wait([this, &gate](error_code aborted) {
      if (!aborted) Accept(gate);
    });
  }

  void CrowdOut() {
    if (undecided_.empty()) return;
    Count(&FrontDoorCounts::crowded_out);
    Close(undecided_.front());
  }

  void Admit(int fd) {
    Count(&FrontDoorCounts::accepted);
    if (undecided_.size() >= std::max<size_t>(options_.max_undecided, 1)) CrowdOut();
    auto connection = std::make_shared<Connection>(context_);
    error_code error;
    connection->socket.assign(fd, error);
    if (error) {
      close(fd);
      return;
    }
    connection->place = undecided_.insert(undecided_.end(), connection);
    SetDeadline(connection, ToChrono(options_.hello_deadline));
    WaitForBytes(connection);
  }

  void SetDeadline(const Ptr& connection, std::chrono::nanoseconds delay) {
    connection->deadline.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(delay));
    connection->deadline.async_wait([this, connection](error_code aborted) {
      if (aborted || !connection->open) return;
      if (!connection->leaving) {
        Count(&FrontDoorCounts::timed_out);
        Log("a connection said too little before the deadline and was closed");
      }
      Close(connection);
    });
  }

  void WaitForBytes(const Ptr& connection) {
    connection->socket.async_wait(Descriptor::wait_read, [this, connection](error_code error) {
      if (!connection->open) return;
      if (error) {
        Close(connection);
      } else if (connection->leaving) {
        Drain(connection);
      } else {
        Look(connection);
      }
    });
  }

  void Look(const Ptr& connection) {
    const int fd = connection->socket.native_handle();
    const ssize_t got = recv(fd, buffer_.data(), buffer_.size(), MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return WaitForBytes(connection);
    if (got <= 0) {
      Count(&FrontDoorCounts::garbage);
      return Close(connection);
    }
    const auto size = static_cast<size_t>(got);
    size_t needed = 0;
    switch (Decide(absl::string_view(buffer_.data(), size), needed)) {
      case Decision::kWait:
        return LookAgain(connection, size, needed);
      case Decision::kGrpc:
        return ToGrpc(connection);
      case Decision::kWeb:
        return ToWeb(connection);
      case Decision::kOldTls:
        return Refuse(connection, kProtocolVersionAlert, &FrontDoorCounts::old_tls, "a client without TLS 1.3");
      case Decision::kPlainHttp:
        return Refuse(connection, kUseTls, &FrontDoorCounts::plain_http, "a client that speaks HTTP without TLS");
      case Decision::kGarbage:
        Count(&FrontDoorCounts::garbage);
        Log("a connection that begins neither with TLS nor with HTTP was closed");
        return Close(connection);
    }
  }

  void LookAgain(const Ptr& connection, size_t size, size_t needed) {
    const int fd = connection->socket.native_handle();
    if (HasHungUp(fd)) {
      Count(&FrontDoorCounts::garbage);
      return Close(connection);
    }
    const bool grown = size > connection->seen;
    connection->seen = size;
    if (grown) {
      SetLowWaterMark(fd, needed);
      return WaitForBytes(connection);
    }
    // Woken without need (the low-water mark is only a wish): a pause keeps this from turning into a busy loop.
    connection->pause.expires_after(kPeekPause);
    connection->pause.async_wait([this, connection](error_code aborted) {
      if (!aborted && connection->open) WaitForBytes(connection);
    });
  }

  // Forgets the connection and returns its socket, as the next owner expects it.
  int Release(const Ptr& connection) {
    SetLowWaterMark(connection->socket.native_handle(), 1);
    const int fd = connection->socket.release();
    Forget(connection);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }

  void ToGrpc(const Ptr& connection) {
    if (acceptor_ == nullptr) return Close(connection);
    Count(&FrontDoorCounts::to_grpc);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = gates_.front()->socket.native_handle();
    parameters.fd = Release(connection);
    acceptor_->HandleNewConnection(&parameters);
  }

  void ToWeb(const Ptr& connection) {
    if (options_.web == nullptr) return Close(connection);
    Count(&FrontDoorCounts::to_web);
    options_.web->Serve(Release(connection));
  }

  // Answers, then waits for the other side to close: closing with unread bytes would reset the connection, and the
  // answer could be lost with it.
  void Refuse(const Ptr& connection, absl::string_view answer, uint64_t FrontDoorCounts::*what, absl::string_view who) {
    Count(what);
    Log(absl::StrCat(who, " was turned away"));
    const int fd = connection->socket.native_handle();
    if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return Close(connection);
    shutdown(fd, SHUT_WR);
    SetLowWaterMark(fd, 1);
    connection->leaving = true;
    SetDeadline(connection, kDrainDeadline);
    Drain(connection);
  }

  void Drain(const Ptr& connection) {
    const ssize_t got = recv(connection->socket.native_handle(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    const bool nothing_yet = got < 0 && (errno == EAGAIN || errno == EINTR);
    if (got > 0) connection->drained += static_cast<size_t>(got);
    if ((got <= 0 && !nothing_yet) || connection->drained > kMaxDrained) return Close(connection);
    WaitForBytes(connection);
  }

  // By value: the list holds the last other reference.
  void Close(Ptr connection) {
    error_code ignored;
    connection->socket.close(ignored);
    Forget(connection);
  }

  void Forget(const Ptr& connection) {
    connection->open = false;
    connection->deadline.cancel();
    connection->pause.cancel();
    undecided_.erase(connection->place);
  }

  const FrontDoorOptions options_;
  const Listener listener_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::string buffer_;
  std::list<Ptr> undecided_;  // Oldest first.
  std::thread thread_;

  Mutex stop_mutex_;  // Held while stopping, so that a second Stop returns no earlier than the first.
  mutable Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  FrontDoorCounts counts_ ABSL_GUARDED_BY(mutex_);

  asio::io_context context_;
  std::vector<std::unique_ptr<Gate>> gates_;
};

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::Create(FrontDoorOptions options) {
  absl::StatusOr<Listener> listener = Listen(options.address);
  if (!listener.ok()) return listener.status();
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(std::move(options), *listener);
  } catch (const boost::system::system_error& error) {
    for (int fd : listener->sockets) close(fd);
    return absl::UnavailableError(absl::StrCat("cannot watch the port: ", error.code().message()));
  }
  if (const error_code error = impl->Open()) {
    return absl::UnavailableError(absl::StrCat("cannot watch the port: ", error.message()));
  }
  return std::unique_ptr<FrontDoor>(new FrontDoor(std::move(impl)));
}

FrontDoor::FrontDoor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FrontDoor::~FrontDoor() = default;

void FrontDoor::AddAcceptor(grpc::ServerBuilder& builder, std::shared_ptr<grpc::ServerCredentials> credentials) {
  impl_->AddAcceptor(builder, std::move(credentials));
}

void FrontDoor::Start() { impl_->Start(); }
void FrontDoor::Stop() { impl_->Stop(); }
int FrontDoor::port() const { return impl_->listener().port; }
std::vector<std::string> FrontDoor::addresses() const { return impl_->listener().addresses; }
FrontDoorCounts FrontDoor::counts() const { return impl_->counts(); }

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const Identity& identity) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_key_cert_pairs.push_back({identity.key_pem, identity.certificate_pem});
  return grpc::SslServerCredentials(options);
}

}  // namespace potluck
