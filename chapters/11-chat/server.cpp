// 第11章 行とチャット: 届いたバイト列から行を切り出し、ほかの全員に送る。

#include "chapters/10-coroutines/loop.h"
#include "chapters/10-coroutines/task.h"
#include "chapters/11-chat/room.h"
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
#include <cstring>
#include <poll.h>
#include <span>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <system_error>
#include <utility>

// ディスクリプタやメモリが足りないとき、受け付けを休む時間 (ミリ秒)。
constexpr int rest_ms = 100;

constexpr std::size_t longest_line = 1024; // 一行のバイト数の上限。改行も数える
constexpr std::string_view refusal = "line too long\n";

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

// EOF まで、届いた行をほかの全員に送ってから閉じる。待つ間は、ループに戻る。
Task handle_tcp_client(Loop& loop, Room& room, Connection client) {
    const int fd = client.socket.fd();
    Member& self = room.emplace(fd, Member{client.peer}).first->second;
    tell_others(loop, room, self, " ", "joined\n");
    char buffer[longest_line];
    std::size_t size = 0; // buffer にある、行の途中までのバイト数
    while (self.lost == nullptr && size < longest_line) {
        flush(loop, fd, self); // 再開したのは、送れるようになったからかもしれない
        // 送り残しがあれば、flush が EPOLLOUT も加えている。
        const ssize_t received = co_await Receive{{loop, client.socket, loop.clients.at(fd).event},
                                                  std::span(buffer).subspan(size)};
        if (received == -1 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (received == -1) {
            cut_off(fd, self, std::strerror(errno));
            break;
        }
        if (received == 0) {
            break; // EOF: クライアントが送り終えた
        }
        if (loop.stopping) {
            continue; // 読み捨てる。読まずに閉じると RST になり、届いていない行が失われる
        }
        size += static_cast<std::size_t>(received);
        const std::size_t whole = std::string_view(buffer, size).rfind('\n') + 1; // なければ 0
        if (whole > 0) {
            tell_others(loop, room, self, ": ", {buffer, whole});
            size -= whole;
            std::memmove(buffer, buffer + whole, size); // 行の途中までは、続きが届くのを待つ
        }
    }
    if (size > 0 && size < longest_line && self.lost == nullptr) {
        buffer[size] = '\n'; // 最後の行には、改行がなくてもよい
        tell_others(loop, room, self, ": ", {buffer, size + 1});
    }
    tell_others(loop, room, self, " ", "left\n");
    const Member last = std::move(self);
    room.erase(fd);
    bool sent = co_await send_all(loop, client.socket, last.unsent.data(), last.unsent.size());
    if (sent && size == longest_line && last.lost == nullptr) {
        sent = co_await send_all(loop, client.socket, refusal.data(), refusal.size());
        shutdown(fd, SHUT_WR);
        const auto end = Clock::now() + loop.idle;
        while (Clock::now() < end && co_await receive(loop, client.socket, buffer) > 0) {
            // 読み捨てる。読まずに閉じると RST になり、断りが届かないことがある
        }
    }
    const char* const failed = sent ? last.lost : std::strerror(errno);
    client.socket.close();
    if (failed != nullptr) {
        log_line("serving ", client.peer.text, " failed: ", failed);
    } else {
        log_line("finished ", client.peer.text);
    }
    co_return true; // 値は誰も使わないが、書かずに終わると未定義動作になる
}

// 待っている接続を受け付ける。ディスクリプタやメモリが足りなければ false。
bool accept_clients(const Socket& server, Loop& loop, Room& room, int limit) noexcept {
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
            loop.start(fd, handle_tcp_client(loop, room, std::move(connection)));
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
void start_draining(Socket& server, Loop& loop, Room& room) noexcept {
    loop.stopping = true;
    watch(loop.epoll, EPOLL_CTL_DEL, server.fd(), 0); // ほかでも開いていれば、閉じても消えない
    server.close();
    for (auto& [fd, member] : room) {
        flush(loop, fd, member);
    }
    log_line("stopping: ", loop.clients.size(), " clients");
}

// イベントループ (event loop): イベントを待ち、それを待っていたコルーチンを再開する。
// stop が読めるようになれば、すべての接続が閉じるのを grace まで待って戻る。
void run_event_loop(Socket server, const Socket& stop, std::chrono::milliseconds idle, int limit,
                    std::chrono::milliseconds grace) noexcept {
    Room room; // loop が破棄されるまで残す
    Loop loop{idle};
    if (loop.epoll.fd() == -1 || !watch(loop.epoll, EPOLL_CTL_ADD, server.fd(), EPOLLIN) ||
        !watch(loop.epoll, EPOLL_CTL_ADD, stop.fd(), EPOLLIN)) {
        die_with_error({errno, std::generic_category(), "epoll"});
    }
    bool resting = false;
    Clock::time_point accept_again; // この時刻までは受け付けを休む
    auto give_up = Clock::time_point::max();
    while (!loop.stopping || (!loop.clients.empty() && Clock::now() < give_up)) {
        const bool closed = loop.stopping || std::ssize(loop.clients) == limit;
        // 休む間は登録を削除する。待つものを 0 にするだけでは、shutdown(2) を通知され続ける。
        if (!loop.stopping && resting != (closed || Clock::now() < accept_again) &&
            watch(loop.epoll, resting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, server.fd(), EPOLLIN)) {
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
                if (!accept_clients(server, loop, room, limit)) {
                    accept_again = Clock::now() + std::chrono::milliseconds(rest_ms);
                }
            } else if (fd == stop.fd()) {
                read_stop_signal(stop);
                watch(loop.epoll, EPOLL_CTL_DEL, fd, 0); // 次のシグナルは、もう読まない
                stopping = true;
            } else {
                loop.resume(fd, false);
            }
        }
        resume_late_clients(loop);
        if (stopping) {
            give_up = Clock::now() + grace;
            start_draining(server, loop, room);
        }
    }
    log_line("stopped: ", loop.clients.size(), " clients cut off");
}

int main(int argc, char* argv[]) {
    start_clean();
    NumberOption idle = {"idle-ms", "how long a client may be silent, in milliseconds", 60'000};
    NumberOption limit = {"clients", "the most clients to serve at once", descriptors_left()};
    NumberOption grace = {"grace-ms", "how long to wait for clients when stopped", 5'000};
    const Endpoint endpoint = endpoint_from_arguments(argc, argv, {&idle, &limit, &grace});

    // 切断された接続に send しても、SIGPIPE でサーバーが終了しないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    Socket server;
    Socket stop; // 止めるシグナルを、ほかのイベントと同じに待つ
    try {
        server = inherit_or_create_tcp_server_socket(endpoint);
        stop = create_signalfd({SIGINT, SIGTERM});
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    set_nonblocking(server);
    print_line("listening on ", local_address(server).text);

    run_event_loop(std::move(server), stop, std::chrono::milliseconds(idle.value), limit.value,
                   std::chrono::milliseconds(grace.value));
}
