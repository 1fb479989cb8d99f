// 第4章 スレッドプール (thread pool): 決まった数のスレッドが、一つの待ち受けソケットで待つ。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <csignal>
#include <functional>
#include <latch>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

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

// 一つのスレッドの一生: 第1章のループを、ほかのスレッドと同じ待ち受けソケットで繰り返す。
// すべてのスレッドがそろうまで受け付けない。先に始めると、そろわないときに通信を打ち切ることになる。
[[noreturn]] void serve(const Socket& server, std::latch& all_started) noexcept {
    all_started.wait();
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
    if (threads.value > descriptors_left()) { // 接続が来なくても accept(2) が失敗し続ける
        die_with_error({EMFILE, std::generic_category(), "threads"});
    }

    // 切断された接続に send しても、SIGPIPE でサーバーが終了しないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    Socket server;
    try {
        server = create_tcp_server_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    print_line("listening on ", local_address(server).text);

    // main のスレッドも、最後の一つとして働く。
    std::latch all_started(1);
    for (int number = 1; number < threads.value; ++number) {
        try {
            std::thread(serve, std::cref(server), std::ref(all_started)).detach();
        } catch (const std::system_error& error) {
            // 約束した数を扱えないのなら始めない
            die_with_error({error.code(), "thread " + std::to_string(number)});
        }
    }
    all_started.count_down();
    serve(server, all_started);
}
