// 第10章 コルーチン: 第9章のサーバーを、第1章のように上から順に読める形に書く。

#include "chapters/10-coroutines/loop.h"
#include "chapters/10-coroutines/task.h"
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/log.h"
#include "common/platform.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <latch>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

// ディスクリプタやメモリが足りないとき、受け付けを休む時間 (ミリ秒)。
constexpr int rest_ms = 100;

// size バイトのすべてを送り、true になる。失敗すれば false で、理由は errno に残る。
Task send_all(Loop& loop, const Socket& socket, const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t sent = send(socket.fd(), data, size, 0);
        if (sent == -1 && errno == EAGAIN) {
            if (!co_await writable(loop, socket)) {
                co_return false;
            }
            continue;
        }
        if (sent == -1 && errno == EINTR) {
            continue;
        }
        if (sent == -1) {
            co_return false;
        }
        data += sent;
        size -= static_cast<std::size_t>(sent);
    }
    co_return true;
}

// EOF まで、届いたバイト列をそのまま送り返してから閉じる。待つ間は、ループに戻る。
Task handle_tcp_client(Loop& loop, Connection client) {
    char buffer[16 * 1024];
    long long echoed = 0;
    const char* failed = nullptr;
    for (;;) {
        const ssize_t received = co_await receive(loop, client.socket, buffer);
        if (received == -1 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (received == -1) {
            failed = "recv() from";
            break;
        }
        if (received == 0) {
            break; // EOF: クライアントが送り終えた
        }
        if (loop.stopping) {
            continue; // 読み捨てる。読まずに閉じると RST になり、届いていない返事が失われる
        }
        if (!co_await send_all(loop, client.socket, buffer, static_cast<std::size_t>(received))) {
            failed = "send() to";
            break;
        }
        echoed += received;
        if (loop.stopping) { // send_all が待つ間に、ドレインが始まった
            shutdown(client.socket.fd(), SHUT_WR);
        }
    }
    finish_tcp_client(client.socket, client.peer, echoed, failed);
    co_return true; // 値は誰も使わないが、書かずに終わると未定義動作になる
}

// 待っている接続を受け付ける。ディスクリプタやメモリが足りなければ false。
bool accept_clients(const Socket& server, Loop& loop, int limit) noexcept {
    // 来続けても、ほかの接続を待たせない。
    for (int i = 0; i < 64 && std::ssize(loop.clients) < limit; ++i) {
        Connection connection;
        const Accepted accepted = try_accept_tcp_connection(server, connection);
        if (accepted != Accepted::connection) {
            return accepted != Accepted::no_resources;
        }
        const int fd = connection.socket.fd();
        const EndpointText peer = connection.peer;
        try {
            if (!watch(loop.epoll, EPOLL_CTL_ADD, fd, EPOLLIN)) {
                throw std::system_error(errno, std::generic_category());
            }
            loop.start(fd, handle_tcp_client(loop, std::move(connection)));
        } catch (const std::exception& error) {
            // メモリが足りない: この接続だけをあきらめる
            log_line("watching ", peer.text, " failed: ", error.what());
        }
    }
    return true;
}

// 締め切りを過ぎた接続について、待つのを打ち切らせる。
void resume_late_clients(Loop& loop) noexcept {
    const Clock::time_point now = Clock::now();
    while (!loop.order.empty() && loop.clients.at(loop.order.front()).deadline <= now) {
        const int fd = loop.order.front();
        pollfd event = {fd, static_cast<short>(loop.clients.at(fd).event), 0};
        loop.resume(fd, poll(&event, 1, 0) == 0); // もう届いていれば、遅れたのはサーバーのほう
    }
}

// ドレイン (drain) を始める: 待ち受けをやめ、送り残しのない接続から、送る向きを閉じる。
void start_draining(Socket& server, Loop& loop) noexcept {
    loop.stopping = true;
    watch(loop.epoll, EPOLL_CTL_DEL, server.fd(), 0); // ほかでも開いていれば、閉じても消えない
    server.close();
    for (const auto& [fd, client] : loop.clients) {
        if (client.event == EPOLLIN) { // 返すものがない
            shutdown(fd, SHUT_WR);
        }
    }
    log_line("stopping: ", loop.clients.size(), " clients");
}

// イベントループ (event loop): イベントを待ち、それを待っていたコルーチンを再開する。
// stop が読めるようになれば、すべての接続が閉じるのを grace まで待って戻る。
void run_event_loop(Socket server, const Socket& stop, std::latch& all_started,
                    std::chrono::milliseconds idle, int limit,
                    std::chrono::milliseconds grace) noexcept {
    Loop loop{idle};
    if (loop.epoll.fd() == -1 ||
        !watch(loop.epoll, EPOLL_CTL_ADD, server.fd(), EPOLLIN | EPOLLEXCLUSIVE) ||
        !watch(loop.epoll, EPOLL_CTL_ADD, stop.fd(), EPOLLIN)) {
        die_with_error({errno, std::generic_category(), "epoll"});
    }
    all_started.arrive_and_wait();
    bool resting = false;
    Clock::time_point accept_again; // この時刻までは受け付けを休む
    auto give_up = Clock::time_point::max();
    while (!loop.stopping || (!loop.clients.empty() && Clock::now() < give_up)) {
        const bool closed = loop.stopping || std::ssize(loop.clients) == limit;
        // 休む間は登録を削除する。待つものを 0 にするだけでは、shutdown(2) を通知され続ける。
        if (!loop.stopping && resting != (closed || Clock::now() < accept_again) &&
            watch(loop.epoll, resting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, server.fd(),
                  EPOLLIN | EPOLLEXCLUSIVE)) {
            resting = !resting; // 登録できなければ、休んだまま、また試す
        }
        epoll_event ready[64];
        const auto next = loop.order.empty() ? Clock::time_point::max()
                                             : loop.clients.at(loop.order.front()).deadline;
        const int wait = resting && !closed ? rest_ms : milliseconds_until(std::min(next, give_up));
        const int count = epoll_wait(loop.epoll.fd(), ready, std::ssize(ready), wait);
        bool stopping = false;
        for (int i = 0; i < count; ++i) {
            const int fd = ready[i].data.fd;
            if (fd == server.fd()) {
                if (!accept_clients(server, loop, limit)) {
                    accept_again = Clock::now() + std::chrono::milliseconds(rest_ms);
                }
            } else if (fd == stop.fd()) {
                watch(loop.epoll, EPOLL_CTL_DEL, fd, 0); // 読まないので、準備ができたままになる
                stopping = true;
            } else {
                loop.resume(fd, false);
            }
        }
        resume_late_clients(loop);
        if (stopping) {
            give_up = Clock::now() + grace;
            start_draining(server, loop);
        }
    }
    log_line("stopped: ", loop.clients.size(), " clients cut off");
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
