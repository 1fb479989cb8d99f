// make bench で並べるための、libevent によるエコーサーバー。引数もログも、各章のサーバーと同じ。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <system_error>
#include <thread>

struct Session {
    EndpointText peer;
    std::size_t echoed = 0;
    bool ended = false; // クライアントが書き終えた
};

void finish(bufferevent* stream, Session* session, const char* failure) {
    bufferevent_free(stream); // ソケットも閉じる (BEV_OPT_CLOSE_ON_FREE)
    if (failure == nullptr) {
        log_line("finished ", session->peer.text, ": ", session->echoed, " bytes echoed");
    } else {
        log_line("serving ", session->peer.text, " failed: ", failure);
    }
    delete session;
}

constexpr std::size_t most_unsent = 65536; // 送れずにたまったら、しばらく受け取らない

void on_read(bufferevent* stream, void* argument) {
    evbuffer* const input = bufferevent_get_input(stream);
    evbuffer* const output = bufferevent_get_output(stream);
    static_cast<Session*>(argument)->echoed += evbuffer_get_length(input);
    evbuffer_add_buffer(output, input); // コピーせずに移す。送るのは libevent
    if (evbuffer_get_length(output) > most_unsent) {
        bufferevent_disable(stream, EV_READ);
    }
}

void on_written(bufferevent* stream, void* argument) {
    auto* const session = static_cast<Session*>(argument);
    if (session->ended) {
        finish(stream, session, nullptr);
    } else {
        bufferevent_enable(stream, EV_READ);
    }
}

void on_end(bufferevent* stream, short events, void* argument) {
    auto* const session = static_cast<Session*>(argument);
    if ((events & BEV_EVENT_EOF) == 0) {
        finish(stream, session, std::strerror(errno));
    } else if (evbuffer_get_length(bufferevent_get_output(stream)) == 0) {
        finish(stream, session, nullptr);
    } else {
        session->ended = true; // 残りを送り終えてから終える
    }
}

void on_accept(evconnlistener* listener, int fd, sockaddr* address, int length, void*) {
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, address, static_cast<std::size_t>(length));
    auto* const session = new Session{to_text(endpoint)};
    log_line("accepted ", session->peer.text);
    bufferevent* const stream =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(stream, on_read, on_written, on_end, session);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}

void on_accept_error(evconnlistener*, void*) {
    log_line("accept() failed: ", std::strerror(errno));
    std::this_thread::sleep_for(std::chrono::milliseconds(100)); // 空回りを避ける
}

int main(int argc, char* argv[]) try {
    start_clean();
    std::signal(SIGPIPE, SIG_IGN);
    const Socket server = create_tcp_server_socket(endpoint_from_arguments(argc, argv));
    set_nonblocking(server);
    print_line("listening on ", local_address(server).text);

    event_base* const loop = event_base_new();
    evconnlistener* const listener =
        evconnlistener_new(loop, on_accept, nullptr, 0, 0, server.fd());
    evconnlistener_set_error_cb(listener, on_accept_error);
    event_base_dispatch(loop);
} catch (const std::system_error& error) {
    die_with_error(error);
}
