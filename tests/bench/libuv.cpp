// libuv によるエコーサーバー。
#include "tests/bench/peer.h"

#include <string>
#include <uv.h>

struct Session {
    uv_tcp_t tcp; // data は、この Session を指す
    uv_write_t write;
    EndpointText peer;
    std::string unsent; // 受け取ったのに、まだ送れていないバイト列。ある間は受け取らない
    long long echoed;
};

char buffer[64 * 1024]; // だれから受け取るときにも使う

void lend_buffer(uv_handle_t*, std::size_t, uv_buf_t* lent) {
    *lent = uv_buf_init(buffer, sizeof buffer);
}

void finish(Session* session, int error) {
    uv_close(reinterpret_cast<uv_handle_t*>(&session->tcp),
             [](uv_handle_t* handle) { delete static_cast<Session*>(handle->data); });
    finished(session->peer, session->echoed, error == UV_EOF ? 0 : -error);
}

void on_read(uv_stream_t* stream, ssize_t received, const uv_buf_t*);

void on_written(uv_write_t* write, int error) {
    if (error < 0) {
        finish(static_cast<Session*>(write->handle->data), error);
    } else {
        uv_read_start(write->handle, lend_buffer, on_read);
    }
}

// まず、待たずに送れるだけ送る。残りがあれば、送り終えるまで読まない。
void on_read(uv_stream_t* stream, ssize_t received, const uv_buf_t*) {
    auto* const session = static_cast<Session*>(stream->data);
    if (received < 0) {
        finish(session, static_cast<int>(received));
        return;
    }
    uv_buf_t data = uv_buf_init(buffer, static_cast<unsigned>(received));
    const int sent = uv_try_write(stream, &data, 1); // 失敗も、下の uv_write で分かる
    session->echoed += received;
    if (sent < received) {
        uv_read_stop(stream);
        session->unsent.assign(buffer + std::max(sent, 0), buffer + received);
        data = uv_buf_init(session->unsent.data(), static_cast<unsigned>(session->unsent.size()));
        uv_write(&session->write, stream, &data, 1, on_written);
    }
}

void on_accept(uv_stream_t* server, int error) {
    if (error < 0) {
        return;
    }
    auto* const session = new Session{};
    uv_tcp_init(server->loop, &session->tcp);
    session->tcp.data = session;
    auto* const stream = reinterpret_cast<uv_stream_t*>(&session->tcp);
    uv_accept(server, stream); // 一人は来ているので、失敗しない
    Endpoint peer;
    int length = sizeof peer.storage;
    uv_tcp_getpeername(&session->tcp, peer.address(), &length);
    session->peer = accepted(peer.address(), static_cast<std::size_t>(length));
    uv_read_start(stream, lend_buffer, on_read);
}

int main(int argc, char* argv[]) {
    const Socket server = listen_as_told(argc, argv);
    uv_tcp_t listener;
    uv_tcp_init(uv_default_loop(), &listener);
    uv_tcp_open(&listener, server.fd());
    uv_listen(reinterpret_cast<uv_stream_t*>(&listener), SOMAXCONN, on_accept);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
