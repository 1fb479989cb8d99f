#include "tests/suite/servers.h"

#include "common/platform.h"
#include "common/tcp.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace {

// SERVER に書いてないので確かめないことと、そのわけ。
std::vector<std::pair<bool Model::*, std::string>> causes;

// number 個のスレッドを、いちどに持てる。プロセスの数の上限 (ulimit -u) は、スレッドも数える。
bool can_start(int number) {
    std::promise<void> promise;
    const std::shared_future<void> end = promise.get_future().share();
    std::vector<std::thread> threads;
    bool started = true;
    try {
        while (threads.size() < static_cast<size_t>(number)) {
            threads.emplace_back([end] { end.wait(); });
        }
    } catch (const std::system_error&) {
        started = false;
    }
    promise.set_value();
    std::ranges::for_each(threads, &std::thread::join);
    return started;
}

} // namespace

std::string find_obstacle() {
    if (foreign_server.empty() && own_program.empty()) {
        return "";
    }
    if (every_model().empty()) {
        return "CHAPTER は、サーバーのある章の番号です (01 のように): " + foreign_chapter;
    }
    if (foreign_server.empty()) {
        return "";
    }
    if (foreign_server.find("{port}") == std::string::npos) {
        return "SERVER には、ポートの入るところに {port} と書いてください: " + foreign_server;
    }
    // 足りないのが自分の環境なら、サーバーのせいにしない。
    const Model& model = every_model()[0];
    const int people = model.concurrent && model.crew == 0 ? most_people() : 100;
    const std::string fewer =
        "足りません。上限を上げるか、SILENT=200 をつけて人数を減らしてください";
    rlimit descriptors{};
    getrlimit(RLIMIT_NOFILE, &descriptors);
    if (descriptors.rlim_cur < static_cast<rlim_t>(people) + 100) {
        return "ディスクリプタの数の上限 (ulimit -n) が " + std::to_string(descriptors.rlim_cur) +
               " なので、" + std::to_string(people) + " 人で試すには" + fewer;
    }
    if ((model.forks || model.threads || model.crew > 0) && !can_start(people)) {
        return "スレッドやプロセスの数の上限 (ulimit -u など) が、" + std::to_string(people) +
               " 人で試すには" + fewer;
    }
    try {
        const Server server = Server::foreign(foreign_server);
        try {
            const Client client(server.endpoint);
            return "";
        } catch (const std::exception& error) {
            return "127.0.0.1 の " + port_of(server.endpoint) + " で待ち受けてください。" +
                   error.what() + ": " + foreign_server;
        }
    } catch (const std::exception& error) {
        return error.what();
    }
}

const std::vector<Model>& every_model() {
    static const std::vector<Model> chosen = [] {
        // 第7章からは、ディスクリプタの上限が人数を決める。標準入出力と、サーバーの分を残す。
        rlimit descriptors{};
        getrlimit(RLIMIT_NOFILE, &descriptors);
        const auto most = std::min<rlim_t>(descriptors.rlim_cur, 1'000'000) - 3 - 16;
        const Model limited = {
            .events = true,
            .epoll = true,
            .idles = true,
            .limits = true,
            .numbers = {{"idle-ms", "60000"}, {"clients", std::to_string(most)}}};
        Model draining = limited;
        draining.drains = true;
        draining.watched = 2;
        draining.numbers.emplace_back("grace-ms", "5000");
        Model chatting = draining;
        chatting.chats = true;
        Model parallel = draining;
        parallel.loops = usable_cores();
        parallel.numbers.emplace_back("loops", std::to_string(parallel.loops));
        const auto named = [](Model model, const std::string& name) {
            model.name = name;
            return model;
        };
        std::vector<Model> models = {
            {.name = "chapter01", .concurrent = false},
            {.name = "chapter02", .forks = true},
            {.name = "chapter03", .threads = true},
            {.name = "chapter04", .crew = 64, .numbers = {{"threads", "64"}}},
            {.name = "chapter05", .events = true},
            {.name = "chapter06", .events = true, .epoll = true},
            named(limited, "chapter07"),
            named(draining, "chapter08"),
            named(parallel, "chapter09"),
            named(parallel, "chapter10"),
            named(chatting, "chapter11"),
            {.name = "variant/prefork",
             .crew = 64,
             .preforks = true,
             .numbers = {{"workers", "64"}}},
            {.name = "variant/queue",
             .crew = 64,
             .hands_over = true,
             .numbers = {{"threads", "64"}}},
            {.name = "variant/select", .events = true, .selects = true},
            {.name = "variant/edge-triggered", .events = true, .epoll = true, .edge = true},
        };
        Model completing = parallel;
        completing.epoll = false; // 待ち受けソケットだけに使う
        completing.completes = true;
        models.push_back(named(completing, "variant/uring"));
        parallel.uneven = true;
        models.push_back(named(parallel, "variant/reuseport"));
        for (Model& model : models) {
            model.program = build_directory + "/" + model.name;
        }
        if (thread_sanitized()) { // スレッドが一つしかなければ、競合もない
            std::erase_if(models, [](const Model& model) {
                return !model.threads && (model.crew == 0 || model.preforks) && model.loops == 0;
            });
        }
        // 章を書き換えてパッチがあたらなければ、別の方式のサーバーは作られていない。
        std::erase_if(models, [](const Model& model) {
            return (model.name.starts_with("variant/") &&
                    !std::filesystem::exists(model.program)) ||
                   (model.completes && foreign_server.empty() && own_program.empty() &&
                    !ring_available());
        });
        const std::string only = foreign_server.empty() ? own_program : foreign_server;
        if (!only.empty()) {
            std::erase_if(models, [](const Model& model) {
                return model.name != "chapter" + foreign_chapter;
            });
            for (Model& model : models) {
                model.name = model.program = only;
                model.ours = foreign_server.empty();
                const std::tuple<bool Model::*, std::string, std::string> asked[] = {
                    {&Model::idles, "{idle-ms}", " がないので、黙ってよい時間"},
                    {&Model::limits, "{clients}", " がないので、人数の上限"},
                    {&Model::drains, "{grace-ms}", " がないので、ドレイン"}};
                for (const auto& [what, number, cause] : asked) {
                    if (model.*what && !model.ours && only.find(number) == std::string::npos) {
                        model.*what = false;
                        causes.emplace_back(what, number + cause);
                    }
                }
            }
        }
        return models;
    }();
    return chosen;
}

std::vector<Model> every_model_with(const std::function<bool(const Model&)>& wanted) {
    std::vector<Model> chosen;
    for (const Model& model : every_model()) {
        if (wanted(model)) {
            chosen.push_back(model);
        }
        for (const auto& [untold, cause] : causes) { // SERVER に書いてあれば、確かめた
            Model told = model;
            told.*untold = true;
            unchecked = !wanted(model) && wanted(told) ? cause : unchecked;
        }
    }
    return chosen;
}

std::vector<Model> models() {
    return models_with([](const Model&) { return true; });
}

std::vector<Model> models_with(const std::function<bool(const Model&)>& wanted) {
    return every_model_with([&](const Model& model) { return !model.chats && wanted(model); });
}

std::vector<Model> chats_with(const std::function<bool(const Model&)>& wanted) {
    return every_model_with([&](const Model& model) { return model.chats && wanted(model); });
}

std::string place(std::initializer_list<const char*> places) {
    const char* best = *places.begin();
    for (const char* const place : places) {
        const char* const number = place + std::strcspn(place, "0123456789"); // more/ のあと
        best = foreign_chapter.compare(0, 2, number, 2) >= 0 ? place : best;
    }
    return best;
}

std::string address_of(const Client& client) {
    Endpoint endpoint;
    getsockname(client.fd(), endpoint.address(), &endpoint.length);
    return to_text(endpoint).text;
}

bool logged(const Server& server, const std::string& text) {
    return eventually([&] { return contains(server.output(), text); });
}

size_t lines(const Server& server, const std::string& part) {
    return lines_with(server.output(), part, "[pid ").size();
}

Process run(const std::string& program, const std::string& arguments, const std::string& before,
            const Process::Options& options) {
    return {{"/bin/sh", "-c", before + "; exec \"$0\" " + arguments, program}, options};
}

Socket listen_anywhere() {
    return create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
}

bool all_reaped(const Model& model, const Server& server) {
    return thread_sanitized() ||
           eventually([&] { return std::ssize(children_of(server.pid())) == model.children(); });
}

UnreadServer::UnreadServer(const std::vector<std::string>& command)
    : Process(command, {.output_to_pipe = true}) {
    const std::string path = "/proc/self/fd/" + std::to_string(output_pipe().fd());
    pipe = Socket{open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    REQUIRE(reads("\n"));
    endpoint = endpoint_from_first_line(text);
}

bool UnreadServer::reads(const std::string& expected) {
    return eventually([&] {
        char buffer[4096];
        const ssize_t n = read(pipe.fd(), buffer, sizeof buffer);
        text.append(buffer, n > 0 ? static_cast<size_t>(n) : 0);
        return contains(text, expected);
    });
}

void UnreadServer::fill_pipe() {
    while (write(pipe.fd(), "x", 1) == 1) {
    }
}

bool available(bool here, const std::string& what) {
    CHECK_MESSAGE((here || std::getenv("CI") == nullptr), what);
    if (!here) {
        MESSAGE(what << " がないので確かめられない");
    }
    return here;
}

bool ring_available() {
    // io_uring_setup(2): 古いヘッダーでもコンパイルできるように、番号と、構造体の中の位置で言う。
    unsigned parameters[30] = {0, 0, 1U << 8U | 1U << 12U}; // COOP_TASKRUN | SINGLE_ISSUER
    static const Socket ring{static_cast<int>(syscall(425, 1, parameters))};
    return ring.fd() != -1;
}

void settle(const Server& server) {
    static std::chrono::seconds limit = deadline;
    const bool asleep = eventually([&] { return server.asleep(); }, limit);
    CHECK_MESSAGE((asleep || !foreign_server.empty()), "サーバーが眠らない");
    if (!asleep && impatient) {
        limit = std::chrono::seconds{1}; // 眠らないサーバー。次からは、長くは待たない
    }
}

void ask_to_stop(Server& server, int number) {
    if (!foreign_server.empty()) {
        settle(server);
    }
    server.told_to_stop = true;
    kill(number == SIGINT ? -server.pid() : server.listener, number);
}

std::optional<TcpSocket> connection(const Server& server, const std::string& client) {
    for (const TcpSocket& tcp : tcp_sockets(port_of(server.endpoint))) {
        if (std::to_string(tcp.peer) == client) {
            return tcp;
        }
    }
    return std::nullopt;
}

void check_echo(const Client& client, const std::string& sent) {
    INFO("\"" << sent << "\" と送った");
    const std::string received = client.echo(sent);
    REQUIRE_MESSAGE(received == sent, "返ってきたのは \"" << received << "\"");
}

Client greet(const Endpoint& server, const std::string& words) {
    Client client(server);
    check_echo(client, words);
    return client;
}

Client greet(const Model& model, const Server& server) {
    if (!model.chats) {
        return greet(server.endpoint);
    }
    Client client(server.endpoint);
    settle(server);
    return client;
}

void check_served(const Model& model, const Server& server, const Client& client) {
    if (!model.chats) {
        check_echo(client, "hello");
        return;
    }
    const Client next(server.endpoint);
    next.finish_writing();
    const std::string expected = address_of(next) + " joined\n" + address_of(next) + " left\n";
    const std::string received = client.receive(expected.size());
    REQUIRE_MESSAGE(received == expected, "届いたのは \"" << received << "\"");
}

std::vector<Client> crowd(const Server& server, int number) {
    INFO("いっしょに話す人の数: " << number);
    std::vector<Client> clients;
    clients.reserve(static_cast<size_t>(number));
    for (int i = 0; i < number; ++i) {
        clients.emplace_back(server.endpoint);
    }
    const auto words = [](size_t i) { return "I am client " + std::to_string(10'000 + i); };
    for (size_t i = 0; i < clients.size(); ++i) {
        clients[i].send(words(i));
    }
    for (size_t i = 0; i < clients.size(); ++i) {
        INFO("\"" << words(i) << "\" と送った");
        const std::string received = clients[i].receive(words(i).size());
        REQUIRE_MESSAGE(received == words(i), "返ってきたのは \"" << received << "\"");
    }
    return clients;
}

size_t fill(const Server& server, const Client& client, std::uint64_t seed) {
    return client.send_until_full(seed, 64UL << 20U, [&] {
        const auto tcp = connection(server, client.port());
        return tcp && tcp->unread > 0 && server.asleep();
    });
}

Server start(const Model& model, const Process::Options& options) {
    return model.ours ? Server({model.program}, "", options)
                      : Server::foreign(model.program, options);
}

bool sanitized() {
    return build_directory.find("address") != std::string::npos || thread_sanitized();
}

bool thread_sanitized() {
    return build_directory.find("thread") != std::string::npos;
}

int most_people() {
    return number_from_environment("SILENT", 1000);
}

int number_from_environment(const char* name, int otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
}
