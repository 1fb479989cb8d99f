// エコークライアント: 標準入力を送り、返ってきたバイトを標準出力に書く。
// 送ったバイトがすべてそのまま返ってきたときだけ、0 で終わる。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

// 送ったバイト列と返ってきたバイト列を、ためずに比べるための、バイト数とハッシュ値 (FNV-1a)。
struct Tally {
    long long bytes = 0;
    std::uint64_t hash = 14695981039346656037U;

    void add(const char* data, ssize_t size) {
        for (ssize_t i = 0; i < size; ++i) {
            hash = (hash ^ static_cast<unsigned char>(data[i])) * 1099511628211U;
        }
        bytes += size;
    }
};

bool write_all(const char* data, ssize_t size) {
    while (size > 0) {
        const ssize_t written = write(STDOUT_FILENO, data, static_cast<size_t>(size));
        if (written == -1 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            data += written;
            size -= written;
        }
    }
    return true;
}

int fail(const char* call) {
    std::fprintf(stderr, "error: %s: %s\n", call, std::strerror(errno));
    return 1;
}

int main(int argc, char* argv[]) {
    start_clean();
    const Endpoint endpoint = endpoint_from_arguments(argc, argv);

    // SIGPIPE で黙って終わらず、何バイト返ってこなかったかを言ってから終わる。
    std::signal(SIGPIPE, SIG_IGN);

    Socket client;
    try {
        client = create_tcp_client_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    // ノンブロッキングにする。送れない間も受け取れるので、サーバーとのデッドロックにならない。
    fcntl(client.fd(), F_SETFL, fcntl(client.fd(), F_GETFL) | O_NONBLOCK);

    Tally sent;
    Tally received;
    char buffer[64 * 1024];
    char outgoing[64 * 1024]; // [begin, end) は、読んだがまだ送っていないバイト
    ssize_t begin = 0;
    ssize_t end = 0;
    bool input_open = true;

    for (;;) {
        const bool unsent = begin < end;
        pollfd events[] = {
            {input_open && !unsent ? STDIN_FILENO : -1, POLLIN, 0},
            {client.fd(), static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN), 0},
        };
        if (poll(events, 2, -1) == -1) {
            continue; // EINTR
        }
        if (events[0].revents != 0) {
            const ssize_t n = read(STDIN_FILENO, outgoing, sizeof outgoing);
            if (n == -1 && errno != EINTR) {
                return fail("read");
            }
            if (n == 0) { // 入力の終わり: 送る向きだけを閉じ、残りの返事を待つ
                input_open = false;
                shutdown(client.fd(), SHUT_WR);
            }
            if (n > 0) {
                sent.add(outgoing, n);
                begin = 0;
                end = n;
            }
        }
        if ((events[1].revents & POLLOUT) != 0) {
            const ssize_t n =
                send(client.fd(), outgoing + begin, static_cast<size_t>(end - begin), 0);
            if (n > 0) {
                begin += n;
            } // 送れなくなったことは、次の recv で分かる
        }
        if ((events[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            const ssize_t n = recv(client.fd(), buffer, sizeof buffer, 0);
            if (n == 0 || (n == -1 && errno != EINTR && errno != EAGAIN)) {
                break; // サーバーが閉じた、または接続が切れた
            }
            if (n > 0) {
                received.add(buffer, n);
                if (!write_all(buffer, n)) {
                    return fail("write");
                }
            }
        }
    }

    if (received.bytes < sent.bytes) {
        std::fprintf(stderr, "error: %lld of %lld bytes did not come back\n",
                     sent.bytes - received.bytes, sent.bytes);
        return 1;
    }
    if (received.hash != sent.hash) {
        std::fprintf(stderr, "error: the bytes that came back differ from those sent\n");
        return 1;
    }
    if (input_open) {
        std::fprintf(stderr, "error: the server closed the connection before the end of input\n");
        return 1;
    }
    return 0;
}
