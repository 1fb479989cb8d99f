// 第3章 クライアントごとにスレッド: 一つのプロセスの中で、スレッドがクライアントの相手をする。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/platform.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

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

// 一つのスレッドの一生。client はこのスレッドのもので、戻るときには閉じている。
void serve(Connection client) noexcept {
    log_line("serving ", count_clients(+1), " clients");
    handle_tcp_client(client);
    log_line("serving ", count_clients(-1), " clients");
}

int main(int argc, char* argv[]) {
    start_clean();
    const Endpoint endpoint = endpoint_from_arguments(argc, argv);

    // 切れた接続に send しても、SIGPIPE でサーバーが終わらないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    // 既定の 8 MiB は要らない。glibc が使い回しに残しておくのは合計 40 MiB までで、
    // 小さいほど多く残る。
    set_thread_stack_size(128UL * 1024);

    Socket server;
    try {
        server = create_tcp_server_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    print_line("listening on ", local_address(server).text);

    for (;;) {
        Connection client = accept_tcp_connection(server);

        try {
            std::thread(serve, std::move(client)).detach();
        } catch (const std::exception& error) {
            // スレッドを作れなかった: このクライアントだけをあきらめる
            log_line("thread creation failed: ", error.what());
        }
    }
}
