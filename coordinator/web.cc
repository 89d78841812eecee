#include "coordinator/web.h"

#include <linux/sockios.h>
#include <openssl/ssl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"

namespace potluck {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using boost::system::error_code;
using Response = http::response<http::span_body<const char>>;

constexpr char kHttp11[] = "\x08http/1.1";

// A client that names protocols must name HTTP/1.1; one that names none gets it.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                   unsigned int offered_length, void*) {
  const auto* ours = reinterpret_cast<const unsigned char*>(kHttp11);
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, ours, sizeof kHttp11 - 1, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

error_code Configure(ssl::context& context, const Identity& identity) {
  error_code error;
  context.use_certificate_chain(asio::buffer(identity.certificate_pem), error);
  if (!error) context.use_private_key(asio::buffer(identity.key_pem), ssl::context::pem, error);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_3_VERSION);
  SSL_CTX_set_alpn_select_cb(context.native_handle(), &ChooseProtocol, nullptr);
  return error;
}

WebRequest ToWebRequest(const http::request<http::string_body>& request) {
  WebRequest result;
  result.method = std::string(request.method() == http::verb::head ? "GET" : request.method_string());
  const std::string target(request.target());
  const size_t question = target.find('?');
  result.path = target.substr(0, question);
  if (question != std::string::npos) result.query = target.substr(question + 1);
  result.authorization = std::string(request[http::field::authorization]);
  result.body = request.body();
  return result;
}

// What a `Range` asks for of `size` bytes: [begin, end), or nothing if it is none that is served: one range that begins
// somewhere (RFC 9110, section 14.2, lets a server pass over any).
std::optional<std::pair<size_t, size_t>> ReadRange(absl::string_view range, size_t size) {
  if (!absl::ConsumePrefix(&range, "bytes=")) return std::nullopt;
  const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
  uint64_t begin = 0, last = size;
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &begin)) return std::nullopt;
  if (!ends[1].empty() && (!absl::SimpleAtoi(ends[1], &last) || last < begin)) return std::nullopt;
  return std::pair(static_cast<size_t>(begin), last < size ? static_cast<size_t>(last) + 1 : size);
}

std::chrono::steady_clock::duration ToChrono(absl::Duration duration) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(absl::ToChronoNanoseconds(duration));
}

// What the server shares with its connections.
struct Shared {
  WebServerOptions options;
  std::atomic<size_t> connections{0};
};

// One connection: handshake, then read, answer, read ... Kept alive by the handler of the operation in progress.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::ip::tcp::socket socket, ssl::context& context, Shared& shared)
      : shared_(shared), stream_(std::move(socket), context), progress_timer_(stream_.get_executor()) {
    ++shared_.connections;
  }
  ~Session() { --shared_.connections; }

  void Run() {
    SetDeadline();
    stream_.async_handshake(ssl::stream_base::server, [self = shared_from_this()](error_code error) {
      if (!error) self->Read();
    });
  }

 private:
  void SetDeadline() { beast::get_lowest_layer(stream_).expires_after(ToChrono(shared_.options.step_deadline)); }

  void Read() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_.options.max_header));
    parser_->body_limit(shared_.options.max_body);
    SetDeadline();
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) { self->OnRead(error); });
  }

  void OnRead(error_code error) {
    if (!error) return Answer();
    if (error == http::error::end_of_stream) return Close();
    if (error == http::error::header_limit)
      return Send(PlainResponse(431, "The request's header is too long."), false, false);
    if (error == http::error::body_limit)
      return Send(PlainResponse(413, "The request's body is too long."), false, false);
    if (error.category() == make_error_code(http::error::bad_method).category() &&
        error != http::error::partial_message) {
      return Send(PlainResponse(400, "The request is not valid HTTP/1.1."), false, false);
    }
    // Timed out or broken: nobody is there to be told.
  }

  void Answer() {
    const http::request<http::string_body>& request = parser_->get();
    WebResponse response;
    try {
      response = shared_.options.route(ToWebRequest(request));
    } catch (const std::exception&) {
      response = PlainResponse(500, "The coordinator could not answer this request.");
    }
    Send(std::move(response), request.method() == http::verb::head, request.keep_alive());
  }

  void Send(WebResponse response, bool head, bool keep_alive) {
    const bool is_shared = response.shared != nullptr;
    body_ = is_shared ? std::move(response.shared) : std::make_shared<const std::string>(std::move(response.body));
    size_t begin = 0, end = body_->size();
    response_ = Response(static_cast<http::status>(response.status), 11);
    if (is_shared && response.status == 200) CutOut(begin, end);
    response_.set(http::field::server, "potluck");
    response_.set(http::field::content_type, response.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : response.headers) response_.set(name, value);
    response_.keep_alive(keep_alive);
    response_.content_length(end - begin);
    if (!head) response_.body() = {body_->data() + begin, end - begin};
    serializer_.emplace(response_);
    keep_alive_ = keep_alive;
    beast::get_lowest_layer(stream_).expires_never();
    WatchProgress();
    Write();
  }

  // Narrows [begin, end) to what the request asks for.
  void CutOut(size_t& begin, size_t& end) {
    const size_t size = end;
    response_.set(http::field::accept_ranges, "bytes");
    const http::request<http::string_body>& request = parser_->get();
    const auto range = ReadRange(absl::string_view(std::string(request[http::field::range])), size);
    if (!range) return;
    if (range->first >= size) {
      response_.result(http::status::range_not_satisfiable);
      response_.set(http::field::content_range, absl::StrCat("bytes */", size));
      end = begin;
      return;
    }
    std::tie(begin, end) = *range;
    response_.result(http::status::partial_content);
    response_.set(http::field::content_range, absl::StrCat("bytes ", begin, "-", end - 1, "/", size));
  }

  // Piece by piece: what is written is encrypted from where it lies, and a piece at a time.
  void Write() {
    http::async_write_some(stream_, *serializer_, [self = shared_from_this()](error_code error, size_t bytes) {
      self->written_ += bytes;
      if (!error && !self->serializer_->is_done()) return self->Write();
      self->progress_timer_.cancel();
      if (error) return;
      self->body_.reset();
      if (self->keep_alive_) {
        self->Read();
      } else {
        self->Close();
      }
    });
  }

  // Breaks the answer off when the client has taken nothing for a while. A deadline for each write would not do: the
  // system may let the next one in only once a large part of its buffer is free, minutes apart on a slow line.
  void WatchProgress() {
    progress_timer_.expires_after(ToChrono(shared_.options.step_deadline));
    progress_timer_.async_wait([weak = weak_from_this(), seen = Progress()](error_code error) {
      const std::shared_ptr<Session> self = weak.lock();
      if (error || self == nullptr) return;
      if (self->Progress() == seen) return self->Abandon();
      self->WatchProgress();
    });
  }

  // With a reset, so that what was not sent is not kept for somebody who does not take it.
  void Abandon() {
    error_code ignored;
    beast::get_lowest_layer(stream_).socket().set_option(asio::socket_base::linger(true, 0), ignored);
    beast::get_lowest_layer(stream_).close();
  }

  // Changes whenever the client has taken something: what was handed to the system, and what of it is still on its way.
  std::pair<uint64_t, int> Progress() {
    int on_its_way = 0;
    ioctl(beast::get_lowest_layer(stream_).socket().native_handle(), SIOCOUTQ, &on_its_way);
    return {written_, on_its_way};
  }

  void Close() {
    SetDeadline();
    stream_.async_shutdown([self = shared_from_this()](error_code) {});
  }

  Shared& shared_;
  beast::ssl_stream<beast::tcp_stream> stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  Response response_;
  std::shared_ptr<const std::string> body_;  // What the response looks at.
  std::optional<http::response_serializer<http::span_body<const char>>> serializer_;
  bool keep_alive_ = false;
  uint64_t written_ = 0;
  asio::steady_timer progress_timer_;
};

}  // namespace

WebResponse PlainResponse(int status, absl::string_view sentence) {
  WebResponse response;
  response.status = status;
  response.body = absl::StrCat(sentence, "\n");
  return response;
}

WebResponse WelcomeRoute(const WebRequest& request) {
  if (request.path == "/" && request.method == "GET") {
    return PlainResponse(200, "This is a Potluck coordinator; workers join with `potluck join`, see README.");
  }
  return PlainResponse(404, "There is nothing here.");
}

class WebServer::Impl {
 public:
  explicit Impl(WebServerOptions options) : tls_(ssl::context::tls_server) { shared_.options = std::move(options); }
  ~Impl() { Stop(); }

  error_code Start(const Identity& identity) {
    if (const error_code error = Configure(tls_, identity)) return error;
    work_.emplace(asio::make_work_guard(*context_));
    thread_ = std::thread([context = &*context_] { context->run(); });
    return {};
  }

  void Serve(int fd) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (stopped_ || shared_.connections >= shared_.options.max_connections) {
      close(fd);
      return;
    }
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    asio::ip::tcp::socket socket(*context_);
    error_code error;
    socket.assign(address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), fd, error);
    if (error) {
      close(fd);
      return;
    }
    try {
      auto session = std::make_shared<Session>(std::move(socket), tls_, shared_);
      asio::post(*context_, [session] { session->Run(); });
    } catch (const std::exception&) {
      // No memory for another TLS connection: the socket has closed itself.
    }
  }

  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock stopping(&stop_mutex_);
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
    }
    if (!context_.has_value()) return;
    context_->stop();
    if (thread_.joinable()) thread_.join();
    work_.reset();
    context_.reset();  // With it go the handlers, and with them the sessions.
  }

 private:
  Shared shared_;
  ssl::context tls_;
  // Reset by Stop only, once `stopped_` keeps Serve away from it.
  std::optional<asio::io_context> context_{std::in_place};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::thread thread_;
  Mutex stop_mutex_;  // Held while stopping, so that a second Stop returns no earlier than the first.
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::StatusOr<std::unique_ptr<WebServer>> WebServer::Create(const Identity& identity, WebServerOptions options) {
  std::unique_ptr<Impl> impl;
  error_code error;
  try {
    impl = std::make_unique<Impl>(std::move(options));
    error = impl->Start(identity);
  } catch (const boost::system::system_error& thrown) {
    error = thrown.code();
  }
  if (error) return absl::InternalError(absl::StrCat("cannot start the web server: ", error.message()));
  return std::unique_ptr<WebServer>(new WebServer(std::move(impl)));
}

WebServer::WebServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WebServer::~WebServer() = default;

void WebServer::Serve(int fd) { impl_->Serve(fd); }
void WebServer::Stop() { impl_->Stop(); }

}  // namespace potluck
