// 読者のクライアント build/client を外から見る。

#include "tests/suite/servers.h"

#include "common/tcp.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sys/ioctl.h>
#include <thread>

namespace {

// どちらのクライアントも、外から見れば同じ。
const std::string programs[] = {"client", "client05"};

std::vector<std::string> client_to(const Endpoint& endpoint, const std::string& program) {
    return {build_directory + "/" + program, port_of(endpoint)};
}

// size バイトのファイル。消えるときに消す。
struct InputFile {
    std::string path = std::filesystem::temp_directory_path() / "echo-input-XXXXXX";
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
    Socket server = listen_anywhere();
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

// 送ったものを相手のカーネルが受け取るのを待ち、次の close(2) が、FIN でなく RST を送るようにする。
void reset_on_close(const Socket& socket) {
    int unacknowledged = 1;
    while (unacknowledged > 0) { // 届く前に打ち切ると、送った分も消える
        ioctl(socket.fd(), TIOCOUTQ, &unacknowledged);
    }
    const linger discard = {1, 0};
    setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &discard, sizeof discard);
}

} // namespace

TEST_SUITE("client") {
    TEST_CASE("どんな大きさのファイルも、そのまま返ってくる") {
        for (const std::string& program : programs) {
            CAPTURE(program);
            const Server server({build_directory + "/chapter01"});
            for (const size_t size : {0UL, 1UL, 65536UL, 65537UL, 10'000'000UL}) {
                CAPTURE(size);
                const InputFile file(size);
                Process client(client_to(server.endpoint, program), {.input = file.path});
                CHECK(client.wait() == 0);
                CHECK(client.output() == file.contents);
                CHECK(client.errors().empty());
            }
        }
    }

    TEST_CASE("サーバーが読まずにいる間は、少し先までしか読まず、眠って待つ") {
        for (const std::string& program : programs) {
            for (const size_t size : {10UL, 10'000'000UL}) { // すぐに終わる入力と、まだある入力
                CAPTURE(program);
                CAPTURE(size);
                const Server server({build_directory + "/chapter01"});
                server.stop();
                const InputFile file(size);
                const Process client(client_to(server.endpoint, program), {.input = file.path});
                const auto position = [&] { // 標準入力のどこまでを読んだか (man 5 proc_pid_fdinfo)
                    std::ifstream info("/proc/" + std::to_string(client.pid()) + "/fdinfo/0");
                    size_t bytes = 0;
                    info.ignore(5) >> bytes; // "pos:    4096"
                    return bytes;
                };
                CHECK(eventually([&] { return position() > 0 && client.asleep(); }));
                CHECK(position() < 100'000);
            }
        }
    }

    TEST_CASE("返ってこないバイトや違うバイトがあれば、一行の理由と 1") {
        for (const std::string& program : programs) {
            CAPTURE(program);
            const InputFile file(10);
            std::string swapped = file.contents;
            std::swap(swapped[2], swapped[3]);
            const struct {
                std::string reply; // 10 バイトを受け取ったあとに送るもの
                bool reset;        // 閉じるかわりに RST を送る
                std::string reason;
            } rows[] = {
                {file.contents.substr(0, 4), false,
                 "6 of 10 bytes did not come back: the server closed the connection"},
                {"", false, "10 of 10 bytes did not come back: the server closed the connection"},
                {file.contents.substr(0, 4), true,
                 "6 of 10 bytes did not come back: Connection reset by peer"},
                {"wrong byte", false, "the bytes that came back differ from those sent"},
                {swapped, false, "the bytes that came back differ from those sent"},
                {file.contents + "!", false, "more bytes came back than were sent"},
            };
            for (const auto& row : rows) {
                CAPTURE(row.reply);
                const FakeServer server([&](const Socket& socket) {
                    char buffer[16];
                    CHECK(receive_all(socket, buffer, 10) == 10);
                    CHECK(send_all(socket, row.reply.data(), row.reply.size()));
                    if (row.reset) {
                        reset_on_close(socket);
                    }
                });
                Process client(client_to(server.endpoint, program), {.input = file.path});
                CHECK(client.wait() == 1);
                CHECK(client.output() == row.reply.substr(0, 10));
                CHECK(client.errors() == "error: " + row.reason + "\n");
            }
        }
    }

    TEST_CASE("入力を待つ間にサーバーが去ったら、第5章のものはすぐに、第0章のものは次の一行で、一行"
              "の理由と 1") {
        for (const std::string& program : programs) {
            for (const bool reset : {false, true}) {
                CAPTURE(program);
                CAPTURE(reset);
                int ends[2] = {-1, -1};
                REQUIRE(pipe2(ends, O_CLOEXEC) == 0); // 書き手がいるかぎり、入力は終わらない
                const Socket read_end{ends[0]};
                const Socket write_end{ends[1]};
                std::unique_ptr<Process> client;
                {
                    const FakeServer server([reset](const Socket& socket) {
                        char buffer[6];
                        CHECK(receive_all(socket, buffer, 6) == 6);
                        CHECK(send_all(socket, buffer, 6));
                        if (reset) {
                            reset_on_close(socket);
                        }
                    });
                    client = std::make_unique<Process>(
                        client_to(server.endpoint, program),
                        Process::Options{.input =
                                             "/proc/self/fd/" + std::to_string(read_end.fd())});
                    REQUIRE(write(write_end.fd(), "hello\n", 6) == 6);
                    CHECK(eventually([&] { return client->output() == "hello\n"; }));
                }                                       // サーバーがいなくなった
                const bool waits = program == "client"; // 入力だけを待っている
                if (waits) {
                    CHECK(client->running());
                    REQUIRE(write(write_end.fd(), "again\n", 6) == 6);
                }
                CHECK(client->wait() == 1);
                CHECK(client->errors() == std::string(waits ? "error: 6 of 12" : "error: 0 of 6") +
                                              " bytes did not come back: " +
                                              (reset ? "Connection reset by peer\n"
                                                     : "the server closed the connection\n"));
            }
        }
    }

    TEST_CASE("読めない入力、切れた接続、去った出力の読み手: 一行の理由と 1") {
        for (const std::string& program : programs) {
            CAPTURE(program);
            const Server server({build_directory + "/chapter01"});
            Process unreadable(client_to(server.endpoint, program), {.input = "/"});
            CHECK(unreadable.wait() == 1);
            CHECK(unreadable.errors() == "error: read: Is a directory\n");

            const InputFile file(10'000'000);
            const FakeServer resetting([](const Socket& socket) {
                char byte = 0;
                CHECK(recv(socket.fd(), &byte, 1, 0) == 1); // 残りを読まずに閉じると RST になる
            });
            Process cut(client_to(resetting.endpoint, program), {.input = file.path});
            CHECK(cut.wait() == 1);
            CHECK(cut.errors().ends_with(" bytes did not come back: Connection reset by peer\n"));
            CHECK((program != "client" || cut.errors().starts_with("error: 4096 of 4096 bytes")));

            Process unread(client_to(server.endpoint, program),
                           {.input = file.path, .output_to_pipe = true});
            unread.output_pipe().close();
            CHECK(unread.wait() == 1);
            CHECK(unread.errors() == "error: write: Broken pipe\n");

            std::string path = build_directory;
            path.append("/").append(program);
            const std::string port = port_of(server.endpoint);
            Process too_large = run(path, port, "ulimit -f 1", {.input = file.path});
            CHECK(too_large.wait() == 1);
            CHECK(too_large.errors() == "error: write: File too large\n");
            CHECK(run(path, port + " <&- >&- 2>&-").wait() == 0); // 空の入力と同じ
        }
    }

    TEST_CASE("自分自身につながったら、断られたのと同じ") {
        // 使えるポートが一つしかなければ、カーネルはつなぐ先と同じ番号を選ぶ。
        const std::string program = std::filesystem::absolute(build_directory + "/client");
        const std::string script = "ip link set lo up && "
                                   "echo '40000 40000' > /proc/sys/net/ipv4/ip_local_port_range && "
                                   "echo hello | exec \"$0\" 40000";
        Process client(
            {"/usr/bin/env", "unshare", "--net", "--map-root-user", "sh", "-c", script, program});
        const int status = client.wait();
        if (!available(!contains(client.errors(), "unshare"), "ネットワークの名前空間")) {
            return;
        }
        CHECK(status == 1);
        CHECK(client.errors() == "error: connect 127.0.0.1:40000: Connection refused\n");
    }
}
