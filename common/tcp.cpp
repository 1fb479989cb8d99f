#include "common/tcp.h"

#include "common/log.h"
#include "common/platform.h"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace {

// 資源が足りないときに休む時間。休まずに試し続けると CPU を使い切る。
constexpr std::chrono::milliseconds pause_when_exhausted{100};

// 待ち受けソケットの設定。accept(2) で得る接続済みソケットにも受け継がれる (socket(7), tcp(7))。
constexpr struct {
    int level;
    int name;
} options_to_enable[] = {
    {SOL_SOCKET, SO_REUSEADDR}, // 前の接続の記録 (TIME-WAIT) が残っていても、すぐに始められる
    {SOL_SOCKET, SO_KEEPALIVE}, // FIN も RST も送らずに消えた相手に、いつか気づく
    {SOL_SOCKET, SO_OOBINLINE}, // 緊急データ (URG) も、ほかのバイトと同じように受け取る
    {IPPROTO_TCP, TCP_NODELAY}, // 小さな返事も、確認応答 (ACK) を待たずに送る
};

// accept(2) の失敗をログに書く。その接続だけの失敗 (受け付ける前に切断された) でなく、
// EMFILE, ENFILE, ENOBUFS, ENOMEM のように資源が足りないのなら true。
bool report_exhaustion(int error) noexcept {
    log_line("accept() failed: ", std::strerror(error));
    return error != ECONNABORTED;
}

// 起動のときの失敗を、呼び出しの名前とアドレスのついた例外にする。
[[noreturn]] void throw_error(int error, const char* call, const Endpoint& endpoint) {
    throw std::system_error(error, std::generic_category(),
                            std::string(call) + " " + to_text(endpoint).text);
}

// endpoint は、失敗したときの例外に書く。
void enable_options(const Socket& server, const Endpoint& endpoint) {
    const int on = 1;
    for (const auto& option : options_to_enable) {
        if (setsockopt(server.fd(), option.level, option.name, &on, sizeof on) == -1) {
            throw_error(errno, "setsockopt", endpoint);
        }
    }
}

} // namespace

Socket create_tcp_server_socket(const Endpoint& endpoint) {
    Socket server{socket(endpoint.storage.ss_family, SOCK_STREAM, 0)};
    if (server.fd() == -1) {
        throw_error(errno, "socket", endpoint);
    }
    enable_options(server, endpoint);
    if (bind(server.fd(), endpoint.address(), endpoint.length) == -1) {
        throw_error(errno, "bind", endpoint);
    }
    if (listen(server.fd(), SOMAXCONN) == -1) {
        throw_error(errno, "listen", endpoint);
    }
    return server;
}

Socket inherit_or_create_tcp_server_socket(const Endpoint& endpoint) {
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const fds = std::getenv("LISTEN_FDS");
    if (pid == nullptr || fds == nullptr || pid != std::to_string(getpid())) {
        return create_tcp_server_socket(endpoint);
    }
    Socket server{3}; // sd_listen_fds(3) の SD_LISTEN_FDS_START
    int listening = 0;
    socklen_t length = sizeof listening;
    getsockopt(server.fd(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    if (fds != std::string("1") || listening == 0) {
        throw std::system_error(EINVAL, std::generic_category(), std::string("LISTEN_FDS=") + fds);
    }
    enable_options(server, endpoint);
    return server;
}

Socket create_tcp_client_socket(const Endpoint& endpoint) {
    Socket client{socket(endpoint.storage.ss_family, SOCK_STREAM, 0)};
    if (client.fd() == -1) {
        throw_error(errno, "socket", endpoint);
    }
    if (connect(client.fd(), endpoint.address(), endpoint.length) == -1) {
        throw_error(errno, "connect", endpoint);
    }
    // 待ち受けのないポートへの接続で、カーネルが自分側にも同じ番号を選ぶと、自分自身に接続する
    // (RFC 9293 の simultaneous open)。サーバーに接続したのではない。
    Endpoint peer;
    getpeername(client.fd(), peer.address(), &peer.length);
    if (std::strcmp(local_address(client).text, to_text(peer).text) == 0) {
        throw_error(ECONNREFUSED, "connect", endpoint);
    }
    return client;
}

Connection accept_tcp_connection(const Socket& server) noexcept {
    for (;;) {
        Endpoint peer;
        Socket socket{accept(server.fd(), peer.address(), &peer.length)};
        if (socket.fd() != -1) {
            Connection client{std::move(socket), to_text(peer)};
            log_line("accepted ", client.peer.text);
            return client;
        }
        if (errno == EINTR) {
            continue; // シグナルに割り込まれただけ
        }
        if (report_exhaustion(errno)) {
            std::this_thread::sleep_for(pause_when_exhausted);
        }
    }
}

Accepted try_accept_tcp_connection(const Socket& server, Connection& client) noexcept {
    Endpoint peer;
    Socket socket{accept_nonblocking(server.fd(), peer.address(), &peer.length)};
    if (socket.fd() != -1) {
        client = {std::move(socket), to_text(peer)};
        log_line("accepted ", client.peer.text);
        return Accepted::connection;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return Accepted::nobody;
    }
    return report_exhaustion(errno) ? Accepted::no_resources : Accepted::nobody;
}

void set_nonblocking(const Socket& socket) noexcept {
    fcntl(socket.fd(), F_SETFL, fcntl(socket.fd(), F_GETFL) | O_NONBLOCK);
}

void handle_tcp_client(Connection& client) noexcept {
    char buffer[16 * 1024];
    long long echoed = 0;
    const char* failed = nullptr;
    for (;;) {
        const ssize_t received = recv(client.socket.fd(), buffer, sizeof buffer, 0);
        if (received == -1 && errno == EINTR) {
            continue;
        }
        if (received == -1) {
            failed = "recv() from";
            break;
        }
        if (received == 0) {
            break; // EOF: クライアントが送り終えた
        }
        if (!send_all(client.socket, buffer, static_cast<std::size_t>(received))) {
            failed = "send() to";
            break;
        }
        echoed += received;
    }
    finish_tcp_client(client.socket, client.peer, echoed, failed);
}

void finish_tcp_client(Socket& socket, const EndpointText& peer, long long echoed,
                       const char* failed) noexcept {
    const int error = errno;
    socket.close(); // ログより先に閉じる。ログの出力が滞っても、クライアントを待たせない
    if (failed != nullptr) {
        log_line(failed, " ", peer.text, " failed: ", std::strerror(error));
    } else {
        log_line("finished ", peer.text, ": ", echoed, " bytes echoed");
    }
}

bool send_all(const Socket& socket, const char* data, std::size_t size) noexcept {
    while (size > 0) {
        const ssize_t sent = send(socket.fd(), data, size, 0);
        if (sent == -1 && errno == EINTR) {
            continue;
        }
        if (sent == -1) {
            return false;
        }
        data += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return true;
}

std::size_t receive_all(const Socket& socket, char* buffer, std::size_t size) noexcept {
    std::size_t total = 0;
    while (total < size) {
        const ssize_t received = recv(socket.fd(), buffer + total, size - total, 0);
        if (received == -1 && errno == EINTR) {
            continue;
        }
        if (received == 0) {
            errno = 0;
        }
        if (received <= 0) {
            break;
        }
        total += static_cast<std::size_t>(received);
    }
    return total;
}
