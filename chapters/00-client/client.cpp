// 第0章 エコークライアント: 標準入力を送り、同じだけ受け取り、比べて、標準出力に書く。
// 送ったバイト列がすべてそのまま返ってきたときだけ、終了ステータス 0 で終了する。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/standard_io.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>
#include <system_error>

// EOF まで、少しずつ送っては同じだけ受け取る。main の終了ステータスを返す。
int echo_input(const Socket& client) {
    char sent[4096];
    char returned[sizeof sent];
    long long total = 0; // これまでに送ったバイト数
    for (;;) {
        const ssize_t n = read_input(sent, sizeof sent);
        if (n == -1) {
            std::perror("error: read");
            return 1;
        }
        const auto size = static_cast<std::size_t>(n);
        if (size == 0) { // EOF: 送る向きだけを閉じ、サーバーも閉じるのを待つ
            shutdown(client.fd(), SHUT_WR);
            if (receive_all(client, returned, 1) != 0) {
                std::fputs("error: more bytes came back than were sent\n", stderr);
                return 1;
            }
            return 0;
        }
        total += n;
        // 送れなくても、その前に返ってきたものは受け取る。
        const int send_error = send_all(client, sent, size) ? 0 : errno;
        const std::size_t received = receive_all(client, returned, size);
        const int error = errno != 0 ? errno : send_error; // ソケットのエラーは一度読むと消える
        if (!write_output(returned, received)) {
            std::perror("error: write");
            return 1;
        }
        if (received < size) {
            std::fprintf(stderr, "error: %zu of %lld bytes did not come back: %s\n",
                         size - received, total,
                         error == 0 ? "the server closed the connection" : std::strerror(error));
            return 1;
        }
        if (std::memcmp(returned, sent, size) != 0) {
            std::fputs("error: the bytes that came back differ from those sent\n", stderr);
            return 1;
        }
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
    return echo_input(client);
}
