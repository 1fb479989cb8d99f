// make bench で並べるための、libuv によるエコーサーバー。引数もログも、各章のサーバーと同じ。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <csignal>
#include <string>
#include <system_error>
#include <uv.h>

struct Session {
    uv_tcp_t tcp; // data は、この Session を指す
    uv_write_t write;
    EndpointText peer;
    std::string unsent; // 受け取ったのに、まだ送れていないバイト列。ある間は受け取らない
    std::size_t echoed;
};

char buffer[64 * 1024]; // だれから受け取るときにも使う

void lend_buffer(uv_handle_t*, std::size_t, uv_buf_t* lent) {
    *lent = uv_buf_init(buffer, sizeof buffer);
}

void finish(Session* session, int error) {
    uv_close(reinterpret_cast<uv_handle_t*>(&session->tcp),
             [](uv_handle_t* handle) { delete static_cast<Session*>(handle->data); });
    if (error == UV_EOF) {
        log_line("finished ", session->peer.text, ": ", session->echoed, " bytes echoed");
    } else {
        log_line("serving ", session->peer.text, " failed: ", uv_strerror(error));
    }
}

void on_read(uv_stream_t* stream, ssize_t received, const uv_buf_t*);

void on_written(uv_write_t* write, int error) {
    auto* const session = static_cast<Session*>(write->handle->data);
    if (error < 0) {
        finish(session, error);
    } else {
        uv_read_start(write->handle, lend_buffer, on_read);
    }
}

// まず、待たずに送れるだけ送る。残りがあれば、送り終えるまで読まない。
void on_read(uv_stream_t* stream, ssize_t received, const uv_buf_t*) {
    auto* const session = static_cast<Session*>(stream->data);
    if (received <= 0) {
        return received == 0 ? void() : finish(session, static_cast<int>(received));
    }
    const auto size = static_cast<std::size_t>(received);
    session->echoed += size;
    uv_buf_t data = uv_buf_init(buffer, static_cast<unsigned>(size));
    const int sent = uv_try_write(stream, &data, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        finish(session, sent);
    } else if (const auto done = static_cast<std::size_t>(sent < 0 ? 0 : sent); done < size) {
        uv_read_stop(stream);
        session->unsent.assign(buffer + done, size - done);
        data = uv_buf_init(session->unsent.data(), static_cast<unsigned>(size - done));
        uv_write(&session->write, stream, &data, 1, on_written);
    }
}

void on_accept(uv_stream_t* server, int error) {
    if (error < 0) {
        log_line("accept() failed: ", uv_strerror(error));
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
    session->peer = to_text(peer);
    log_line("accepted ", session->peer.text);
    uv_read_start(stream, lend_buffer, on_read);
}

int main(int argc, char* argv[]) try {
    start_clean();
    std::signal(SIGPIPE, SIG_IGN);
    const Socket server = create_tcp_server_socket(endpoint_from_arguments(argc, argv));
    print_line("listening on ", local_address(server).text);

    uv_loop_t* const loop = uv_default_loop();
    uv_tcp_t listener;
    uv_tcp_init(loop, &listener);
    uv_tcp_open(&listener, server.fd());
    const int error = uv_listen(reinterpret_cast<uv_stream_t*>(&listener), SOMAXCONN, on_accept);
    if (error < 0) {
        die_with_error({-error, std::generic_category(), "uv_listen"});
    }
    uv_run(loop, UV_RUN_DEFAULT);
} catch (const std::system_error& error) {
    die_with_error(error);
}
