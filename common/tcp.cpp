#include "common/tcp.h"

#include "common/log.h"
#include "common/platform.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/types.h>
#include <system_error>
#include <thread>

namespace {

// 足りないものが空くのを待つ時間。待たずに試しつづけると CPU を使いきる。
constexpr std::chrono::milliseconds pause_when_exhausted{100};

// その接続だけの失敗。Linux の accept(2) は、新しい接続に起きていたネットワークの
// エラーもここで返す (man 2 accept の "Error handling")。
constexpr int errors_of_one_connection[] = {
    ECONNABORTED, EPROTO,       EPERM,      ENETDOWN,    ENOPROTOOPT,
    EHOSTDOWN,    EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, error_no_network,
};

// 起動のときの失敗を、呼び出しの名前とアドレスのついた例外にする。
[[noreturn]] void throw_error(int error, const char* call, const Endpoint& endpoint) {
    throw std::system_error(error, std::generic_category(),
                            std::string(call) + " " + to_text(endpoint).text);
}

} // namespace

Socket create_tcp_server_socket(const Endpoint& endpoint) {
    Socket server{socket(endpoint.storage.ss_family, SOCK_STREAM, 0)};
    if (server.fd() == -1) {
        throw_error(errno, "socket", endpoint);
    }
    // 前の接続の後始末 (TIME-WAIT) が残っていても、すぐに同じポートで始められるようにする。
    const int on = 1;
    if (setsockopt(server.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1) {
        throw_error(errno, "setsockopt", endpoint);
    }
    if (bind(server.fd(), endpoint.address(), endpoint.length) == -1) {
        throw_error(errno, "bind", endpoint);
    }
    if (listen(server.fd(), SOMAXCONN) == -1) {
        throw_error(errno, "listen", endpoint);
    }
    return server;
}

Socket create_tcp_client_socket(const Endpoint& endpoint) {
    Socket client{socket(endpoint.storage.ss_family, SOCK_STREAM, 0)};
    if (client.fd() == -1) {
        throw_error(errno, "socket", endpoint);
    }
    if (connect(client.fd(), endpoint.address(), endpoint.length) == 0) {
        return client;
    }
    if (errno != EINTR) {
        throw_error(errno, "connect", endpoint);
    }
    // EINTR でも接続の手続きは続いている。connect(2) をやり直すと、OS によって EALREADY や
    // EISCONN になるので、書き込めるようになるまで待ち、結果を SO_ERROR で受け取る。
    pollfd event = {client.fd(), POLLOUT, 0};
    while (poll(&event, 1, -1) == -1 && errno == EINTR) {
    }
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(client.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        throw_error(error, "connect", endpoint);
    }
    return client;
}

Socket accept_tcp_connection(const Socket& server) noexcept {
    for (;;) {
        Endpoint peer;
        Socket client{accept(server.fd(), peer.address(), &peer.length)};
        if (client.fd() != -1) {
            log_line("accepted %s", to_text(peer).text);
            return client;
        }
        if (errno == EINTR) {
            continue; // シグナルに割り込まれただけ
        }
        const int error = errno;
        log_line("accept() failed: %s", std::strerror(error));
        const bool only_this_connection = std::ranges::find(errors_of_one_connection, error) !=
                                          std::end(errors_of_one_connection);
        if (!only_this_connection) { // EMFILE, ENFILE, ENOBUFS, ENOMEM など
            std::this_thread::sleep_for(pause_when_exhausted);
        }
    }
}

void handle_tcp_client(const Socket& client) noexcept {
    const EndpointText peer = peer_address(client);
    char buffer[16 * 1024];
    long long echoed = 0;
    for (;;) {
        const ssize_t received = recv(client.fd(), buffer, sizeof buffer, 0);
        if (received == -1 && errno == EINTR) {
            continue;
        }
        if (received == -1) {
            log_line("recv() from %s failed: %s", peer.text, std::strerror(errno));
            return;
        }
        if (received == 0) {
            break; // クライアントが書き終えた
        }
        if (!send_all(client, buffer, static_cast<std::size_t>(received))) {
            log_line("send() to %s failed: %s", peer.text, std::strerror(errno));
            return;
        }
        echoed += received;
    }
    log_line("finished %s: %lld bytes echoed", peer.text, echoed);
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
