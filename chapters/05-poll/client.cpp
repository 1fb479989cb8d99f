// 第5章のエコークライアント: 入力とサーバーの両方を、poll で待つ。
// 返事を待たずに送り続け、入力を待っている間でも、サーバーが切断すればすぐに気づく。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/standard_io.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

// EOF まで、送れるだけ送り、返ってきただけ受け取る。main の終了ステータスを返す。
int echo_input(const Socket& client) {
    std::string waiting;  // 読んだのに、まだ返ってきていないバイト列
    std::size_t sent = 0; // そのうち、もう送ったバイト数
    bool ended = false;   // 入力が EOF になった
    long long total = 0;  // これまでに読んだバイト数
    int send_error = 0; // 送れなかった理由。一度読むと消えるので覚えておく
    char buffer[16 * 1024];
    for (;;) {
        const bool full = waiting.size() >= 64UL * 1024; // 返ってくるまで、次は読まない
        const bool unsent = sent < waiting.size();
        pollfd events[] = {{ended || full ? -1 : STDIN_FILENO, POLLIN, 0},
                           {client.fd(), static_cast<short>(POLLIN | (unsent ? POLLOUT : 0)), 0}};
        if (poll(events, 2, -1) == -1 && errno != EINTR) {
            std::perror("error: poll");
            return 1;
        }
        if (events[0].revents != 0) {
            const ssize_t n = read_input(buffer, sizeof buffer);
            if (n == -1) {
                std::perror("error: read");
                return 1;
            }
            ended = n == 0;
            waiting.append(buffer, static_cast<std::size_t>(n));
            total += n;
        }
        if (sent < waiting.size()) {
            const ssize_t n = send(client.fd(), &waiting[sent], waiting.size() - sent, 0);
            if (n >= 0) {
                sent += static_cast<std::size_t>(n);
            } else if (errno != EAGAIN && errno != EINTR) {
                send_error = errno;
            }
        }
        if (ended && sent == waiting.size()) {
            shutdown(client.fd(), SHUT_WR); // 送る向きだけを閉じる。二度呼んでもよい
        }
        const ssize_t n = recv(client.fd(), buffer, sizeof buffer, 0);
        if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (n == 0 && ended && waiting.empty()) {
            return 0;
        }
        if (n <= 0) {
            const int error = n == -1 ? errno : send_error;
            std::fprintf(stderr, "error: %zu of %lld bytes did not come back: %s\n", waiting.size(),
                         total,
                         error == 0 ? "the server closed the connection" : std::strerror(error));
            return 1;
        }
        const auto received = static_cast<std::size_t>(n);
        if (!write_output(buffer, std::min(received, sent))) {
            std::perror("error: write");
            return 1;
        }
        if (received > sent) {
            std::fputs("error: more bytes came back than were sent\n", stderr);
            return 1;
        }
        if (waiting.compare(0, received, buffer, received) != 0) {
            std::fputs("error: the bytes that came back differ from those sent\n", stderr);
            return 1;
        }
        waiting.erase(0, received);
        sent -= received;
    }
}

int main(int argc, char* argv[]) {
    start_clean();
    const Endpoint endpoint = endpoint_from_arguments(argc, argv);

    // SIGPIPE で黙って終了せず、何バイト返ってこなかったかを表示してから終了する。
    std::signal(SIGPIPE, SIG_IGN);

    Socket client;
    try {
        client = create_tcp_client_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    set_nonblocking(client);
    return echo_input(client);
}
