// 第9章 コアごとに一つのループ: 第8章のイベントループを、コアの数だけのスレッドで動かす。

#include "common/clock.h"
#include "common/endpoint.h"
#include "common/epoll.h"
#include "common/log.h"
#include "common/platform.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <latch>
#include <list>
#include <new>
#include <poll.h>
#include <span>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

// ディスクリプタを、締め切りの早い順に並べたもの。待つ長さはどれも同じなので、最後のイベントの順でもある。
using Order = std::list<int>;

// ディスクリプタやメモリが足りないとき、受け付けを休む時間 (ミリ秒)。
constexpr int rest_ms = 100;

// 一つの接続について、次のイベントまで覚えておくこと。
struct Client {
    Socket socket;     // 接続済みソケット。ノンブロッキング
    EndpointText peer; // 相手のアドレス
    std::vector<char> unsent = {}; // 受け取ってまだ送れていないバイト列。残っている間は受け取らない
    long long echoed = 0; // 送り返したバイト数
    Clock::time_point deadline = {}; // この時刻までイベントがなければ閉じる。あるたびに延びる
    Order::iterator place = {}; // 並びの中の位置。締め切りが延びると、末尾に移る
};
using Clients = std::unordered_map<int, Client>; // キーはディスクリプタ

// 次にどのイベントを待つか。
std::uint32_t next_event(const Client& client) noexcept {
    return client.unsent.empty() ? EPOLLIN : EPOLLOUT;
}

// 今できるだけのことを、ブロックせずに行う。続きがあれば true。EOF か失敗なら閉じて false。
// stopping なら、新しく届いたものは捨て、残りを送り終えたら、送る向きを閉じる (half-close)。
bool serve(Client& client, std::span<char> buffer, bool stopping) noexcept try {
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
        if (stopping) {
            return true; // 読み捨てる。読まずに閉じると RST になり、届いていない返事が失われる
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
    if (stopping && client.unsent.empty()) {
        shutdown(client.socket.fd(), SHUT_WR);
    }
    return true;
} catch (const std::bad_alloc&) {
    errno = ENOMEM; // 残りを保存できない: この接続だけをあきらめる
    finish_tcp_client(client.socket, client.peer, client.echoed, "keeping bytes for");
    return false;
}

// 待っている接続を受け付ける。ディスクリプタやメモリが足りなければ false。
bool accept_clients(const Socket& server, Clients& clients, const Socket& epoll, Order& order,
                    std::chrono::milliseconds idle, int limit) noexcept {
    for (int i = 0; i < 64 && std::ssize(clients) < limit; ++i) { // 来続けても、ほかを待たせない
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
            Order place{fd};
            clients.emplace(fd, Client{.socket = std::move(connection.socket),
                                       .peer = connection.peer,
                                       .deadline = Clock::now() + idle,
                                       .place = place.begin()});
            order.splice(order.end(), place);
        } catch (const std::exception& error) {
            // メモリが足りない: この接続だけをあきらめる
            log_line("watching ", connection.peer.text, " failed: ", error.what());
        }
    }
    return true;
}

// 締め切りを過ぎた接続を閉じる。
void close_idle_clients(Clients& clients, Order& order, std::chrono::milliseconds idle) noexcept {
    const Clock::time_point now = Clock::now();
    while (!order.empty() && clients.at(order.front()).deadline <= now) {
        Client& client = clients.at(order.front());
        pollfd event = {order.front(), static_cast<short>(next_event(client)), 0};
        if (poll(&event, 1, 0) != 0) { // もう届いている。遅れたのはサーバーのほう
            client.deadline = now + idle;
            order.splice(order.end(), order, client.place);
            continue;
        }
        errno = ETIMEDOUT;
        finish_tcp_client(client.socket, client.peer, client.echoed, "waiting for");
        clients.erase(order.front());
        order.pop_front();
    }
}

// ドレイン (drain) を始める: 待ち受けをやめ、送り残しのない接続から、送る向きを閉じる。
void start_draining(Socket& server, const Socket& epoll, const Clients& clients) noexcept {
    watch(epoll, EPOLL_CTL_DEL, server.fd(), 0); // ほかでも開いていれば、閉じても消えない
    server.close();
    for (const auto& [fd, client] : clients) {
        if (client.unsent.empty()) {
            shutdown(fd, SHUT_WR);
        }
    }
    log_line("stopping: ", clients.size(), " clients");
}

// イベントループ (event loop): イベントを待ち、準備のできた接続を少しずつ処理する。
// stop が読めるようになれば、すべての接続が閉じるのを grace まで待って戻る。
void run_event_loop(Socket server, const Socket& stop, std::latch& all_started,
                    std::chrono::milliseconds idle, int limit,
                    std::chrono::milliseconds grace) noexcept {
    const Socket epoll{epoll_create1(0)};
    if (epoll.fd() == -1 || !watch(epoll, EPOLL_CTL_ADD, server.fd(), EPOLLIN | EPOLLEXCLUSIVE) ||
        !watch(epoll, EPOLL_CTL_ADD, stop.fd(), EPOLLIN)) {
        die_with_error({errno, std::generic_category(), "epoll"});
    }
    all_started.arrive_and_wait();
    char buffer[64 * 1024]; // どの接続から受け取るときにも使う
    Clients clients;
    Order order;
    bool resting = false;
    Clock::time_point accept_again; // この時刻までは受け付けを休む
    bool stopping = false;
    auto give_up = Clock::time_point::max();
    while (!stopping || (!clients.empty() && Clock::now() < give_up)) {
        const bool closed = stopping || std::ssize(clients) == limit;
        // 休む間は登録を削除する。待つものを 0 にするだけでは、shutdown(2) を通知され続ける。
        if (!stopping && resting != (closed || Clock::now() < accept_again) &&
            watch(epoll, resting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, server.fd(),
                  EPOLLIN | EPOLLEXCLUSIVE)) {
            resting = !resting; // 登録できなければ、休んだまま、また試す
        }
        epoll_event ready[64];
        const auto next =
            order.empty() ? Clock::time_point::max() : clients.at(order.front()).deadline;
        const int wait = resting && !closed ? rest_ms : milliseconds_until(std::min(next, give_up));
        const int count = epoll_wait(epoll.fd(), ready, std::ssize(ready), wait);
        for (int i = 0; i < count; ++i) {
            const int fd = ready[i].data.fd;
            if (fd == server.fd()) {
                if (!accept_clients(server, clients, epoll, order, idle, limit)) {
                    accept_again = Clock::now() + std::chrono::milliseconds(rest_ms);
                }
                continue;
            }
            if (fd == stop.fd()) {
                stopping = true;
                watch(epoll, EPOLL_CTL_DEL, fd, 0); // 読まないので、準備ができたままになる
                continue;
            }
            Client& client = clients.at(fd);
            const std::uint32_t awaited = next_event(client);
            client.deadline = Clock::now() + idle;
            order.splice(order.end(), order, client.place);
            if (!serve(client, buffer, stopping)) {
                order.erase(client.place);
                clients.erase(fd); // 閉じる。複製がないので、epoll の登録も消える
            } else if (next_event(client) != awaited) {
                watch(epoll, EPOLL_CTL_MOD, fd, next_event(client));
            }
        }
        close_idle_clients(clients, order, idle);
        if (stopping && server.fd() != -1) {
            give_up = Clock::now() + grace;
            start_draining(server, epoll, clients);
        }
    }
    log_line("stopped: ", clients.size(), " clients cut off");
}

// loops 個のイベントループを、それぞれのスレッドで始める。limit 本の接続を、ループに割り振る。
std::vector<std::jthread> start_event_loops(int loops, const Socket& server, const Socket& stop,
                                            std::chrono::milliseconds idle, int limit,
                                            std::chrono::milliseconds grace) {
    static std::latch all_started(loops); // すべてのスレッドがそろうまで、受け付けない
    std::vector<std::jthread> threads;
    try {
        for (int i = 0; i < loops; ++i) {
            const int share = limit / loops + (i < limit % loops ? 1 : 0);
            threads.emplace_back(run_event_loop, checked_socket(dup(server.fd()), "dup"),
                                 std::cref(stop), std::ref(all_started), idle, share, grace);
        }
    } catch (const std::system_error& error) {
        die_with_error({error.code(), "event loop"}); // 指定された数を作れないなら、始めない
    }
    return threads;
}

int main(int argc, char* argv[]) {
    start_clean();
    NumberOption idle = {"idle-ms", "how long a client may be silent, in milliseconds", 60'000};
    NumberOption limit = {"clients", "the most clients to serve at once", descriptors_left()};
    NumberOption grace = {"grace-ms", "how long to wait for clients when stopped", 5'000};
    NumberOption loops = {"loops", "how many event loops run in parallel", usable_cores()};
    const Endpoint endpoint = endpoint_from_arguments(argc, argv, {&idle, &limit, &grace, &loops});
    // ループごとに、ディスクリプタを二つ使う。
    const long long most = descriptors_left() - 2LL * loops.value;
    limit.value = static_cast<int>(std::clamp<long long>(most, 1, limit.value));

    // 切断された接続に send しても、SIGPIPE でサーバーが終了しないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    Socket server;
    Socket signals; // 止めるシグナルを、main が待つ
    Socket stop;    // そして、すべてのループに知らせる
    try {
        server = inherit_or_create_tcp_server_socket(endpoint);
        signals = create_signalfd({SIGINT, SIGTERM});
        stop = checked_socket(eventfd(0, 0), "eventfd");
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    set_nonblocking(server);
    print_line("listening on ", local_address(server).text);

    const auto threads =
        start_event_loops(loops.value, server, stop, std::chrono::milliseconds(idle.value),
                          limit.value, std::chrono::milliseconds(grace.value));
    server.close(); // あとはループだけが持つ。最後のループが閉じれば、待ち受けが終わる
    read_stop_signal(signals);
    eventfd_write(stop.fd(), 1); // 誰も読まないので、どのループからも見える
                                 // threads は、破棄されるときに、すべてのループが戻るのを待つ
}
