// 第3章 接続ごとにスレッド: 一つのプロセスの中で、スレッドが通信を行う。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

// すべてのスレッドが共有する。読み書きは必ず clients_mutex をロックして行う。
std::mutex clients_mutex;
int clients = 0; // 今の接続の数

// 変えたあとの数を返す。ロックしたままログを書くと、出力が滞ったときに全スレッドが止まるので、
// 書くのは呼び出し側に任せる。
int count_clients(int change) {
    const std::lock_guard lock(clients_mutex);
    clients += change;
    return clients;
}

// 一つのスレッドの一生。client の持ち主はこのスレッドで、戻るときには閉じている。
void serve(Connection client) noexcept {
    log_line("serving ", count_clients(+1), " clients");
    handle_tcp_client(client);
    log_line("serving ", count_clients(-1), " clients");
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
    print_line("listening on ", local_address(server).text);

    for (;;) {
        Connection client = accept_tcp_connection(server);

        try {
            std::thread(serve, std::move(client)).detach();
        } catch (const std::exception& error) {
            // スレッドを作れなかった: この接続だけをあきらめる
            log_line("thread creation failed: ", error.what());
        }
    }
}
