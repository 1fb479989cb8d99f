// 第1章 反復サーバー (iterative server): 一度に一つの接続だけを扱う。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <csignal>
#include <system_error>

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

        handle_tcp_client(client);
    }
}
