// libevent によるエコーサーバー。
#include "tests/bench/peer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

struct Session {
    EndpointText peer;
    long long echoed = 0;
    bool ended = false; // クライアントが書き終えた
};

void finish(bufferevent* stream, Session* session, int error) {
    bufferevent_free(stream); // ソケットも閉じる (BEV_OPT_CLOSE_ON_FREE)
    finished(session->peer, session->echoed, error);
    delete session;
}

constexpr std::size_t most_unsent = 65536; // 送れずにたまったら、しばらく受け取らない

void on_read(bufferevent* stream, void* argument) {
    evbuffer* const input = bufferevent_get_input(stream);
    evbuffer* const output = bufferevent_get_output(stream);
    static_cast<Session*>(argument)->echoed += static_cast<long long>(evbuffer_get_length(input));
    evbuffer_add_buffer(output, input); // コピーせずに移す。送るのは libevent
    if (evbuffer_get_length(output) > most_unsent) {
        bufferevent_disable(stream, EV_READ);
    }
}

void on_written(bufferevent* stream, void* argument) {
    auto* const session = static_cast<Session*>(argument);
    if (session->ended) {
        finish(stream, session, 0);
    } else {
        bufferevent_enable(stream, EV_READ);
    }
}

void on_end(bufferevent* stream, short events, void* argument) {
    auto* const session = static_cast<Session*>(argument);
    session->ended = (events & BEV_EVENT_EOF) != 0;
    if (!session->ended) {
        finish(stream, session, errno);
    } else if (evbuffer_get_length(bufferevent_get_output(stream)) == 0) {
        finish(stream, session, 0);
    } // 残りがあれば、送り終えてから終える
}

void on_accept(evconnlistener* listener, int fd, sockaddr* address, int length, void*) {
    bufferevent* const stream =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    auto* const session = new Session{accepted(address, static_cast<std::size_t>(length))};
    bufferevent_setcb(stream, on_read, on_written, on_end, session);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}

int main(int argc, char* argv[]) {
    const Socket server = listen_as_told(argc, argv);
    event_base* const loop = event_base_new();
    evconnlistener_new(loop, on_accept, nullptr, 0, 0, server.fd());
    event_base_dispatch(loop);
}
