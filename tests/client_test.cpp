// 読者のクライアント build/client を外から見る。

#include "tests/process.h"
#include "tests/servers.h"

#include "common/tcp.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <fstream>
#include <functional>
#include <thread>

namespace {

std::vector<std::string> client_to(const Endpoint& endpoint) {
    return {build_directory + "/client", port_of(endpoint)};
}

// size バイトのファイル。消えるときに消す。
struct InputFile {
    std::string path = "/tmp/echo-input-XXXXXX";
    std::string contents;
    explicit InputFile(size_t size) {
        close(mkstemp(path.data()));
        for (size_t i = 0; contents.size() < size; ++i) {
            contents += std::to_string(i * 7919) + (i % 5 == 0 ? '\n' : '\0');
        }
        contents.resize(size);
        std::ofstream(path, std::ios::binary) << contents;
    }
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;
    ~InputFile() { unlink(path.c_str()); }
};

// 一人だけの相手をする、行儀の悪いかもしれないサーバー。
struct FakeServer {
    Socket server = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
    Endpoint endpoint = endpoint_from_text(local_address(server).text);
    std::thread thread;
    explicit FakeServer(const std::function<void(const Socket&)>& handle)
        : thread([this, handle] { handle(Socket{accept(server.fd(), nullptr, nullptr)}); }) {}
    FakeServer(const FakeServer&) = delete;
    FakeServer& operator=(const FakeServer&) = delete;
    ~FakeServer() {
        shutdown(server.fd(), SHUT_RDWR); // だれも来なかったとき、accept(2) を待ちつづけないように
        thread.join();
    }
};

} // namespace

TEST_SUITE("client") {
    TEST_CASE("どんな大きさのファイルも、そのまま返ってくる") {
        const Server server({build_directory + "/chapter01"});
        for (const size_t size : {0UL, 1UL, 65536UL, 65537UL, 10'000'000UL}) {
            CAPTURE(size);
            const InputFile file(size);
            Process client(client_to(server.endpoint), {.input = file.path});
            CHECK(client.wait() == 0);
            CHECK(client.output() == file.contents);
            CHECK(client.errors().empty());
        }
    }

    TEST_CASE("待ち受けがなければ、一行の理由と 1") {
        Socket gone = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        const Endpoint endpoint = endpoint_from_text(local_address(gone).text);
        gone.close();
        Process client(client_to(endpoint));
        CHECK(client.wait() == 1);
        CHECK(client.errors() ==
              std::string("error: connect ") + to_text(endpoint).text + ": Connection refused\n");
    }

    TEST_CASE("返ってこないバイトや違うバイトがあれば、一行の理由と 1") {
        struct Row {
            const char* reply;
            const char* reason;
        };
        const Row rows[] = {
            {"0791", "error: 6 of 10 bytes did not come back\n"},
            {"", "error: 10 of 10 bytes did not come back\n"},
            {"wrong byte", "error: the bytes that came back differ from those sent\n"},
            {"too many bytes", "error: the bytes that came back differ from those sent\n"},
        };
        const InputFile file(10);
        for (const Row& row : rows) {
            CAPTURE(std::string(row.reply));
            const std::string reply = row.reply;
            const FakeServer server([&reply](const Socket& socket) {
                char buffer[16];
                while (recv(socket.fd(), buffer, sizeof buffer, 0) > 0) {
                }
                send_all(socket, reply.data(), reply.size());
            });
            Process client(client_to(server.endpoint), {.input = file.path});
            CHECK(client.wait() == 1);
            CHECK(client.output() == reply);
            CHECK(client.errors() == std::string(row.reason));
        }
    }

    TEST_CASE("入力の途中でサーバーが閉じれば、一行の理由と 1") {
        int ends[2] = {-1, -1};
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0); // 書き手がいるかぎり、入力は終わらない
        const Socket read_end{ends[0]};
        const Socket write_end{ends[1]};
        const FakeServer server([](const Socket&) {});
        Process client(client_to(server.endpoint),
                       {.input = "/proc/self/fd/" + std::to_string(read_end.fd())});
        CHECK(client.wait() == 1);
        CHECK(client.errors() ==
              "error: the server closed the connection before the end of input\n");
    }

    TEST_CASE("接続が切れても、出力の読み手が去っても、シグナルで死なずに 1 で終わる") {
        const InputFile file(10'000'000);
        const FakeServer resetting([](const Socket& socket) {
            char byte = 0;
            CHECK(recv(socket.fd(), &byte, 1, 0) == 1); // 残りを読まずに閉じると RST になる
        });
        Process cut(client_to(resetting.endpoint), {.input = file.path});
        CHECK(cut.wait() == 1);
        CHECK(cut.errors().find("bytes did not come back\n") != std::string::npos);

        const Server server({build_directory + "/chapter01"});
        Process unread(client_to(server.endpoint), {.input = file.path, .output_to_pipe = true});
        unread.output_pipe().close();
        CHECK(unread.wait() == 1);
        CHECK(unread.errors() == "error: write: Broken pipe\n");
    }
}
