// 第5章 poll による I/O 多重化: 一つのスレッドが、準備のできた接続を少しずつ処理する。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <new>
#include <poll.h>
#include <span>
#include <sys/socket.h>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;

// ディスクリプタやメモリが足りないとき、受け付けを休む時間 (ミリ秒)。
constexpr int rest_ms = 100;

// 一つの接続について、次のイベントまで覚えておくこと。
// 第4章までは、スレッドのスタックと実行位置がこの役をしていた。
struct Client {
    Socket socket;     // 接続済みソケット。ノンブロッキング
    EndpointText peer; // 相手のアドレス
    std::vector<char> unsent = {}; // 受け取ってまだ送れていないバイト列。残っている間は受け取らない
    long long echoed = 0; // 送り返したバイト数
};
using Clients = std::unordered_map<int, Client>; // キーはディスクリプタ

// 次にどのイベントを待つか。
short next_event(const Client& client) noexcept {
    return client.unsent.empty() ? POLLIN : POLLOUT;
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
bool accept_clients(const Socket& server, Clients& clients, std::vector<pollfd>& watched) noexcept {
    for (int i = 0; i < 64; ++i) { // 来続けても、ほかの接続を待たせない
        Connection connection;
        const Accepted accepted = try_accept_tcp_connection(server, connection);
        if (accepted != Accepted::connection) {
            return accepted != Accepted::no_resources;
        }
        const int fd = connection.socket.fd();
        try {
            clients.emplace(fd, Client{std::move(connection.socket), connection.peer});
            watched.push_back({fd, POLLIN, 0});
        } catch (const std::exception& error) {
            clients.erase(fd); // メモリが足りない: この接続だけをあきらめる
            log_line("watching ", connection.peer.text, " failed: ", error.what());
        }
    }
    return true;
}

// イベントループ (event loop): イベントを待ち、準備のできた接続を少しずつ処理する。
[[noreturn]] void run_event_loop(const Socket& server) noexcept {
    char buffer[64 * 1024]; // どの接続から受け取るときにも使う
    Clients clients;
    std::vector<pollfd> watched = {{server.fd(), POLLIN, 0}}; // 初めの一つが待ち受けソケット
    Clock::time_point accept_again; // この時刻までは受け付けを休む
    for (;;) {
        const bool resting = Clock::now() < accept_again;
        watched[0].fd = resting ? -1 : server.fd(); // poll は負のディスクリプタを無視する
        if (poll(watched.data(), watched.size(), resting ? rest_ms : -1) == -1) {
            if (errno == EINTR) {
                continue; // シグナルに割り込まれただけ
            }
            // ENOMEM か、上限 (ulimit -n) を下げられて EINVAL:
            // 少し休み、ブロックしないのですべてを試す
            poll(nullptr, 0, rest_ms);
            for (pollfd& each : watched) {
                each.revents = each.fd == -1 ? short{0} : each.events;
            }
        }
        // 末尾から調べる。空いたところに末尾の要素を移しても、それはもう調べ終えている。
        for (std::size_t i = watched.size(); i-- > 0;) {
            const int fd = watched[i].fd;
            if (watched[i].revents == 0) {
                continue;
            }
            if (fd == server.fd()) {
                if (!accept_clients(server, clients, watched)) {
                    accept_again = Clock::now() + std::chrono::milliseconds(rest_ms);
                }
                continue;
            }
            Client& client = clients.at(fd);
            if (serve(client, buffer)) {
                watched[i].events = next_event(client);
            } else {
                clients.erase(fd);
                watched[i] = watched.back();
                watched.pop_back();
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
