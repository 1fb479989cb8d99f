// 第4章 スレッドプール (thread pool): 決まった数のスレッドが、一つの待ち受けソケットで待つ。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <csignal>
#include <functional>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

// すべてのスレッドが同じ変数を見る。読み書きは、必ず clients_mutex をロックして行う。
std::mutex clients_mutex;
int clients = 0; // 今、相手をしているクライアントの数

// 数えなおした数を返す。ロックしたままログを書くと、書き込みが詰まったときに全員が止まるので、
// 書くのは呼び出し側に任せる。
int count_clients(int change) {
    const std::lock_guard lock(clients_mutex);
    clients += change;
    return clients;
}

// 一つのスレッドの一生: 第1章のループを、ほかのスレッドと同じ待ち受けソケットでくり返す。
[[noreturn]] void serve(const Socket& server) noexcept {
    for (;;) {
        Connection client = accept_tcp_connection(server);

        log_line("serving ", count_clients(+1), " clients");
        handle_tcp_client(client);
        log_line("serving ", count_clients(-1), " clients");
    }
}

int main(int argc, char* argv[]) {
    start_clean();
    NumberOption threads = {"threads", "how many clients are served at a time", 64};
    const Endpoint endpoint = endpoint_from_arguments(argc, argv, {&threads});

    // 切れた接続に send しても、SIGPIPE でサーバーが終わらないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    Socket server;
    try {
        server = create_tcp_server_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    print_line("listening on ", local_address(server).text);

    // main のスレッドも、最後の一つとして働く。
    for (int number = 1; number < threads.value; ++number) {
        try {
            std::thread(serve, std::cref(server)).detach();
        } catch (const std::system_error& error) {
            // 約束した数の相手をできないのなら、始めない
            die_with_error({error.code(), "thread " + std::to_string(number)});
        }
    }
    serve(server);
}
