// make bench で並べる、ライブラリによるエコーサーバーの、どれも同じところ。
// 引数もログも、各章のサーバーと同じ。
#pragma once

#include "common/endpoint.h"
#include "common/log.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <csignal>
#include <cstring>

// 待ち受けるソケットを作る。作れなければ終わる。
inline Socket listen_as_told(int argc, char* argv[]) try {
    start_clean();
    std::signal(SIGPIPE, SIG_IGN);
    Socket server = create_tcp_server_socket(endpoint_from_arguments(argc, argv));
    set_nonblocking(server);
    print_line("listening on ", local_address(server).text);
    return server;
} catch (const std::system_error& error) {
    die_with_error(error);
}

// 相手を一人、受け付けた。
inline EndpointText accepted(const sockaddr* address, std::size_t length) {
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, address, length);
    const EndpointText peer = to_text(endpoint);
    log_line("accepted ", peer.text);
    return peer;
}

// その相手のソケットを閉じた。error が 0 なら、相手が書き終えたから。
inline void finished(const EndpointText& peer, long long echoed, int error) {
    Socket closed;
    errno = error;
    finish_tcp_client(closed, peer, echoed, error == 0 ? nullptr : "serving");
}
