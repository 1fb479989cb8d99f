// 第6章 epoll による I/O 多重化: 監視するものをカーネルに登録し、準備のできたものだけを受け取る。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <new>
#include <span>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;

// ディスクリプタやメモリが足りないとき、受け付けを休む時間 (ミリ秒)。
constexpr int rest_ms = 100;

// 一つの接続について、次のイベントまで覚えておくこと。
struct Client {
    Socket socket;     // 接続済みソケット。ノンブロッキング
    EndpointText peer; // 相手のアドレス
    std::vector<char> unsent = {}; // 受け取ってまだ送れていないバイト列。残っている間は受け取らない
    long long echoed = 0; // 送り返したバイト数
};
using Clients = std::unordered_map<int, Client>; // キーはディスクリプタ

// 次にどのイベントを待つか。
std::uint32_t next_event(const Client& client) noexcept {
    return client.unsent.empty() ? EPOLLIN : EPOLLOUT;
}

// fd で待つイベントを epoll に登録する。operation は、初めなら EPOLL_CTL_ADD、変更するなら
// EPOLL_CTL_MOD。失敗すれば false で、理由は errno に残る。
bool watch(const Socket& epoll, int operation, int fd, std::uint32_t events) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd; // 準備ができると、epoll_wait がこの値を返す
    return epoll_ctl(epoll.fd(), operation, fd, &event) == 0;
}

// 今できるだけのことを、ブロックせずに行う。続きがあれば true。EOF か失敗なら閉じて false。
bool serve(Client& client, std::span<char> buffer) noexcept try {
    std::span<const char> data = client.unsent;
    if (data.empty()) {
        const ssize_t received = recv(client.socket.fd(), buffer.data(), buffer.size(), 0);
        if (received == -1 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (received <= 0) { // 失敗か EOF
            finish_tcp_client(client.socket, client.peer, client.echoed,
                              received == -1 ? "recv() from" : nullptr);
            return false;
        }
        data = buffer.first(static_cast<std::size_t>(received));
    }
    ssize_t sent = send(client.socket.fd(), data.data(), data.size(), 0);
    if (sent == -1 && (errno == EAGAIN || errno == EINTR)) {
        sent = 0;
    }
    if (sent == -1) {
        finish_tcp_client(client.socket, client.peer, client.echoed, "send() to");
        return false;
    }
    client.echoed += sent;
    client.unsent = std::vector<char>(data.begin() + sent, data.end()); // 空ならメモリも解放される
    return true;
} catch (const std::bad_alloc&) {
    errno = ENOMEM; // 残りを保存できない: この接続だけをあきらめる
    finish_tcp_client(client.socket, client.peer, client.echoed, "keeping bytes for");
    return false;
}

// 待っている接続を受け付ける。ディスクリプタやメモリが足りなければ false。
bool accept_clients(const Socket& server, Clients& clients, const Socket& epoll) noexcept {
    for (int i = 0; i < 64; ++i) { // 来続けても、ほかの接続を待たせない
        Connection connection;
        const Accepted accepted = try_accept_tcp_connection(server, connection);
        if (accepted != Accepted::connection) {
            return accepted != Accepted::no_resources;
        }
        const int fd = connection.socket.fd();
        try {
            if (!watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN)) {
                throw std::system_error(errno, std::generic_category());
            }
            clients.emplace(fd, Client{std::move(connection.socket), connection.peer});
        } catch (const std::exception& error) {
            // メモリが足りない: この接続だけをあきらめる
            log_line("watching ", connection.peer.text, " failed: ", error.what());
        }
    }
    return true;
}

// イベントループ (event loop): イベントを待ち、準備のできた接続を少しずつ処理する。
[[noreturn]] void run_event_loop(const Socket& server) noexcept {
    const Socket epoll{epoll_create1(0)};
    if (epoll.fd() == -1 || !watch(epoll, EPOLL_CTL_ADD, server.fd(), EPOLLIN)) {
        die_with_error({errno, std::generic_category(), "epoll"});
    }
    char buffer[64 * 1024]; // どの接続から受け取るときにも使う
    Clients clients;
    bool resting = false;
    Clock::time_point accept_again; // この時刻までは受け付けを休む
    for (;;) {
        if (resting != (Clock::now() < accept_again)) {
            resting = !resting;
            watch(epoll, EPOLL_CTL_MOD, server.fd(), resting ? 0U : EPOLLIN);
        }
        epoll_event ready[64];
        const int count = epoll_wait(epoll.fd(), ready, std::ssize(ready), resting ? rest_ms : -1);
        for (int i = 0; i < count; ++i) {
            const int fd = ready[i].data.fd;
            if (fd == server.fd()) {
                if (!accept_clients(server, clients, epoll)) {
                    accept_again = Clock::now() + std::chrono::milliseconds(rest_ms);
                }
                continue;
            }
            Client& client = clients.at(fd);
            const std::uint32_t awaited = next_event(client);
            if (!serve(client, buffer)) {
                clients.erase(fd); // 閉じる。複製がないので、epoll の登録も消える
            } else if (next_event(client) != awaited) {
                watch(epoll, EPOLL_CTL_MOD, fd, next_event(client));
            }
        }
    }
}

int main(int argc, char* argv[]) {
    start_clean();
    const Endpoint endpoint = endpoint_from_arguments(argc, argv);

    // 切断された接続に send しても、SIGPIPE でサーバーが終了しないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    Socket server;
    try {
        server = create_tcp_server_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    set_nonblocking(server);
    print_line("listening on ", local_address(server).text);

    run_event_loop(server);
}
