// サーバーが、三つのクライアントの来る場面と帰る場面のそれぞれで、どこで何を待っているかを、外から見て絵にする:
// see 絵.svg 'サーバー
// {port}'。時間を測るのではなく、どの場面でも静まるのを待つので、速さによらない。

#include "tests/outside/client.h"
#include "tests/outside/process.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

const std::vector<std::string> scenes = {"起動",         "一人目が来る", "二人目が来る",
                                         "三人目が来る", "一人目が帰る", "二人目が帰る",
                                         "三人目が帰る"};

// 待つことの多いシステムコール。poll などは、CPU の種類によっては、ない。
const std::map<long, std::string> calls = {
#ifdef SYS_poll
    {SYS_poll, "poll"},
    {SYS_epoll_wait, "epoll_wait"},
#endif
#ifdef SYS_select
    {SYS_select, "select"},
#endif
#ifdef SYS_accept
    {SYS_accept, "accept"},
#endif
    {SYS_ppoll, "ppoll"},
    {SYS_pselect6, "pselect"},
    {SYS_epoll_pwait, "epoll_wait"},
    {SYS_accept4, "accept"},
    {SYS_recvfrom, "recv"},
    {SYS_recvmsg, "recvmsg"},
    {SYS_read, "read"},
    {SYS_write, "write"},
    {SYS_sendto, "send"},
    {SYS_futex, "futex"},
    {SYS_wait4, "wait"},
    {SYS_waitid, "wait"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_clock_nanosleep, "nanosleep"},
    {SYS_rt_sigtimedwait, "sigwait"}};

// スレッド一つ ("PID/task/TID") が、今していること。もういなければ空。
std::string doing(const std::string& task) {
    const char state = stat_of(task).state;
    if (state == 0 || state == 'Z' || state == 'R') {
        return state == 0 ? "" : state == 'Z' ? "ゾンビ" : "実行中";
    }
    long number = -1;
    std::ifstream("/proc/" + task + "/syscall") >> number;
    const auto call = calls.find(number);
    return call == calls.end() ? "眠っている" : call->second;
}

std::string name_of(const std::string& task) {
    std::string name;
    std::getline(std::ifstream("/proc/" + task + "/comm"), name);
    return name;
}

// 一つの行: 場面ごとに、していること。空なら、そのときはいない。
struct Lane {
    std::string name;
    std::vector<std::string> cells = std::vector<std::string>(scenes.size());
    int alike = 1; // 同じことをしていたスレッドの数
};

struct Visitor {
    char name;
    std::optional<Client> connection; // 来る前と、閉じてもらえたあとは空
    bool answered = false;
    bool leaving = false;

    // 届いたものを読み、今の様子を言う。
    std::string look() {
        if (!connection) {
            return "";
        }
        if (!answered && connection->has_something_to_read()) {
            answered = connection->receive(2) == std::string{name, '\n'};
        }
        if (answered && leaving && connection->has_something_to_read()) {
            connection.reset();
            return "";
        }
        return !answered ? "返事を待つ" : leaving ? "閉じるのを待つ" : "話せる";
    }
};

std::vector<Lane> watch(const std::string& command) {
    const Server server = Server::foreign(command);
    Visitor visitors[] = {{'1', {}}, {'2', {}}, {'3', {}}};
    std::vector<Lane> lanes = {{"一人目"}, {"二人目"}, {"三人目"}};
    std::map<std::string, Lane> tasks;
    std::vector<std::string> order;
    for (size_t scene = 0; scene < scenes.size(); ++scene) {
        if (scene > 0) {
            Visitor& visitor = visitors[(scene - 1) % 3];
            if (scene <= 3) {
                visitor.connection.emplace(server.endpoint);
                visitor.connection->send(std::string{visitor.name, '\n'});
            } else if (visitor.connection) {
                visitor.leaving = true;
                visitor.connection->finish_writing();
            }
        }
        std::this_thread::sleep_for(100ms); // 混んでいると、ループバックのパケットも遅れる
        eventually([&] { return server.asleep(); }, 5s);
        for (size_t at = 0; at < std::size(visitors); ++at) {
            lanes[at].cells[scene] = visitors[at].look();
        }
        for (const std::string& task : tasks_of(server.family())) {
            // 間にいるだけの sh は見せない。
            if (!task.starts_with(std::to_string(server.pid()) + "/") ||
                server.listener == server.pid()) {
                if (!tasks.contains(task)) {
                    order.push_back(task);
                    tasks[task].name = name_of(task) + " " + task.substr(task.rfind('/') + 1);
                }
                tasks[task].cells[scene] = doing(task);
            }
        }
    }
    // ずっと同じことをしていたスレッド (スレッドプール、Java の仮想マシン) は、一つの行にまとめる。
    for (const std::string& task : order) {
        const Lane& lane = tasks[task];
        const auto same = std::find_if(lanes.begin() + 3, lanes.end(), [&](const Lane& other) {
            return other.cells == lane.cells;
        });
        if (same == lanes.end()) {
            lanes.push_back(lane);
        } else {
            ++same->alike;
        }
    }
    return lanes;
}

std::string escaped(const std::string& text) {
    std::string safe;
    for (const char letter : text) {
        safe += letter == '&' ? "&amp;" : letter == '<' ? "&lt;" : std::string(1, letter);
    }
    return safe;
}

void draw(std::ostream& out, const std::string& command, const std::vector<Lane>& lanes) {
    constexpr size_t left = 230;
    constexpr size_t wide = 100;
    const std::map<std::string, std::string> styles = {{"返事を待つ", "waiting"},
                                                       {"閉じるのを待つ", "leaving"},
                                                       {"話せる", "served"},
                                                       {"実行中", "running"},
                                                       {"ゾンビ", "zombie"}};
    const size_t height = 110 + 28 * lanes.size();
    out << "<svg xmlns='http://www.w3.org/2000/svg' role='img' viewBox='0 0 940 " << height
        << "' width='940'>\n<title>" << escaped(command) << "</title>"
        << R"(
<style>
text { font: 13px "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", sans-serif; fill: #1f2328 }
.title { font: bold 15px monospace }
.cell { text-anchor: middle }
.waiting, .leaving { fill: #e6b450 }
.served, .running { fill: #7cc8b4 }
.zombie { fill: #e69a9a }
.blocked { fill: #d8dee4 }
.grid { fill: #8b949e }
.paper { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 }
.waiting, .leaving { fill: #7d5a10 }
.served, .running { fill: #17614f }
.zombie { fill: #8a3a3a }
.blocked { fill: #30363d }
}
</style>
<rect class='paper' width='100%' height='100%' rx='12'/>
)";
    const auto text = [&](const std::string& style, size_t x, size_t y, const std::string& words) {
        out << "<text class='" << style << "' x='" << x << "' y='" << y << "'>" << escaped(words)
            << "</text>\n";
    };
    text("title", 20, 32, command);
    for (size_t scene = 0; scene < scenes.size(); ++scene) {
        text("cell", left + wide * scene + wide / 2, 62, scenes[scene]);
        out << "<rect class='grid' x='" << left + wide * scene << "' y='70' width='1' height='"
            << height - 84 << "'/>\n";
    }
    size_t y = 76;
    for (const Lane& lane : lanes) {
        y += &lane == &lanes[3] ? 12 : 0; // クライアントと、サーバーの間
        text("name", 20, y + 16,
             lane.name + (lane.alike > 1 ? " ほか " + std::to_string(lane.alike - 1) : ""));
        for (size_t begin = 0, end = 0; begin < scenes.size(); begin = end) {
            end = begin;
            while (end < scenes.size() && lane.cells[end] == lane.cells[begin]) {
                ++end;
            }
            if (!lane.cells[begin].empty()) {
                const auto style = styles.find(lane.cells[begin]);
                out << "<rect class='" << (style == styles.end() ? "blocked" : style->second)
                    << "' x='" << left + wide * begin + 3 << "' y='" << y << "' width='"
                    << wide * (end - begin) - 5 << "' height='22' rx='4'/>\n";
                text("cell", left + wide * (begin + end) / 2, y + 16, lane.cells[begin]);
            }
        }
        y += 28;
    }
    out << "</svg>\n";
}

} // namespace

int main(int argc, char* argv[]) {
    try {
        if (argc != 3 || *argv[2] == '\0') {
            throw std::runtime_error("使い方: make see SERVER='./my-server {port}'");
        }
        const std::vector<Lane> lanes = watch(argv[2]);
        std::ofstream file(argv[1]);
        draw(file, argv[2], lanes);
        if (!file.flush()) {
            throw std::runtime_error(std::string(argv[1]) + " に書けません");
        }
        std::cout << "図: " << argv[1] << "\n";
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
