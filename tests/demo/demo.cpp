// 三つのクライアントが続けて来たとき、誰がどれだけ待たされるかを測り、章ごとに図にする:
// demo サーバー...。環境変数 SVG のファイルにも描く。

#include "common/log.h"
#include "tests/outside/client.h"
#include "tests/outside/process.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

// talk の間隔と回数を変えたら、ここも変える。
constexpr const char* headline = "三つのクライアントが続けて接続し、"
                                 "0.2 秒おきに 5 行ずつ送って切断する";

// 一つのクライアントの一生。どれも、一人目が接続しはじめてからの秒数。
struct Visit {
    char name;
    double connected; // 接続しはじめた
    double answered;  // 最初の返事が届いた
    double left;      // 去った

    double waiting() const { return answered - connected; }
    // 返事が届くまでの短い時間や、プロセスやスレッドを作る手間は、待たされたとは言わない。
    bool waited() const { return waiting() > (left - answered) / 4; }
    bool served_at(double time) const { return answered <= time && time <= left; }
};

struct Chapter {
    std::string program;
    std::string title;
    std::vector<Visit> visits;
    std::string among_silent; // 何も送らない接続が先にあるときの一行
};

constexpr int silent = 64;                // 第4章のスレッドと同じ数
constexpr milliseconds patience = 1000ms; // 返事をここまで待つ

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Visit talk(const Client client, char name, Clock::time_point start, double connected) {
    Visit visit = {name, connected, 0, 0};
    for (const char number : {'1', '2', '3', '4', '5'}) {
        const std::string message = {name, number, '\n'};
        if (client.echo(message) != message) {
            throw std::runtime_error(std::string("wrong echo to client ") + name);
        }
        if (number == '1') {
            visit.answered = seconds_since(start);
        }
        std::this_thread::sleep_for(milliseconds{200});
    }
    client.finish_writing();
    if (!client.receive_until_closed().empty()) {
        throw std::runtime_error(std::string("more than an echo to client ") + name);
    }
    visit.left = seconds_since(start);
    return visit;
}

// Ctrl-C で終わっても何も残らないので、ハンドラーは必要ない。サーバーはこのスレッドと
// いっしょに終わり (PR_SET_PDEATHSIG)、その子プロセスは接続が切れて終わる。
std::vector<Visit> measure(const std::string& program) {
    const Server server({program});
    const auto start = Clock::now();
    std::vector<std::future<Visit>> clients;
    for (const char name : {'1', '2', '3'}) { // ノートの A, B, C は端末
        const double connected = seconds_since(start);
        clients.push_back(
            std::async(std::launch::async, talk, Client(server.endpoint), name, start, connected));
    }
    std::vector<Visit> visits;
    std::ranges::transform(clients, std::back_inserter(visits), &std::future<Visit>::get);
    return visits;
}

// 何も送らない接続が silent 本あるところに次の一人が来て、一言話す。返事は来るか。
std::string measure_among_silent(const std::string& program) {
    const Server server({program});
    std::vector<Client> crowd;
    crowd.reserve(silent);
    for (int i = 0; i < silent; ++i) {
        crowd.emplace_back(server.endpoint);
    }
    eventually([&] { return server.asleep(); }); // 受け付け終えるのを待つ
    const auto start = Clock::now();
    const Client next(server.endpoint);
    next.send("1\n");
    while (!next.has_something_to_read() && Clock::now() - start < patience) {
        std::this_thread::sleep_for(1ms);
    }
    std::ostringstream text;
    text << "何も送らない接続が先に " << silent << " 本あると、次の一人は ";
    if (next.has_something_to_read()) {
        text << std::ceil(seconds_since(start) * 1000) << " ミリ秒で返事をもらえた。";
    } else {
        text << patience.count() / 1000 << " 秒待っても返事をもらえなかった。";
    }
    return text.str();
}

// chapters/NN-名前/server.cpp の最初の行 "// 第1章 反復サーバー (iterative server): ..."
// から題を取る。
std::string title_of(const std::string& program) {
    const std::string number = program.substr(program.size() - std::min<size_t>(program.size(), 2));
    for (const auto& folder : std::filesystem::directory_iterator("chapters")) {
        std::string line;
        if (folder.path().filename().string().starts_with(number + "-") &&
            std::getline(std::ifstream(folder.path() / "server.cpp"), line)) {
            return line.substr(3, line.find(':') - 3);
        }
    }
    return program;
}

// 図の下の一行。章の番号からでなく、測った値から言う。
std::string conclusion(const std::vector<Visit>& visits) {
    const char* const people[] = {"一人目", "二人目", "三人目"};
    std::ostringstream text;
    text << std::fixed << std::setprecision(1);
    for (const Visit& visit : visits) {
        if (visit.waited()) {
            text << (text.tellp() > 0 ? "、" : "") << people[visit.name - '1'] << "は "
                 << visit.waiting() << " 秒";
        }
    }
    const bool waited = text.tellp() > 0;
    // 入れ替わりの瞬間は測り方で揺れるので、一人目が話しているまん中で数える。
    const double middle = (visits[0].answered + visits[0].left) / 2;
    const auto together =
        std::ranges::count_if(visits, [&](const Visit& visit) { return visit.served_at(middle); });
    const char* const served[] = {"", "話せるのは一度に一人だけ。", "話せるのは一度に二人まで。",
                                  "三人とも同時に話せた。"};
    text << (waited ? "待たされた。" : "誰も待たない。") << served[together];
    if (!waited) {
        const double longest = std::ranges::max(visits, {}, &Visit::waiting).waiting();
        text << "最初の返事まで最長 " << std::lround(std::ceil(longest * 1000)) << " ミリ秒。";
    }
    return text.str();
}

// 棒は ASCII だけで描く。罫線やブロックの幅は、端末によって半角にも全角にもなる。
void draw_text(std::ostream& out, const std::vector<Chapter>& chapters, double longest,
               bool colored) {
    const double scale = std::clamp(std::floor(64 / longest), 1.0, 20.0); // 一秒の桁数
    const auto column = [&](double time) {
        return static_cast<std::size_t>(std::lround(time * scale));
    };
    const auto bar = [&](char mark, std::size_t length) {
        const std::string color = mark == '.' ? "\033[33m" : "\033[32m";
        const std::string marks(length, mark);
        return colored && length > 0 ? color + marks + "\033[0m" : marks;
    };
    std::string axis(column(longest) + 1, '-');
    std::string labels;
    for (int second = 0; second <= longest; ++second) {
        axis[column(second)] = '|';
        labels.resize(column(second), ' ');
        labels += std::to_string(second);
    }
    out << headline << "\n  " << bar('.', 5) << " 最初の返事を待つ    " << bar('#', 5)
        << " やりとりする\n";
    for (const Chapter& chapter : chapters) {
        out << "\n" << chapter.title << " [" << chapter.program << "]\n";
        for (const auto& [name, connected, answered, left] : chapter.visits) {
            out << "  " << name << " " << std::string(column(connected), ' ')
                << bar('.', column(answered) - column(connected))
                << bar('#', column(left) - column(answered)) << "\n";
        }
        out << "    " << axis << "\n    " << labels << " 秒\n  " << conclusion(chapter.visits)
            << "\n  " << chapter.among_silent << "\n";
    }
}

void draw_svg(std::ostream& out, const std::vector<Chapter>& chapters, double longest) {
    const double scale = std::min(660 / longest, 220.0); // 一秒の画素数
    const auto column = [&](double time) { return 56 + std::lround(time * scale); };
    const auto text = [&](const char* style, long x, long y, const std::string& content) {
        out << "<text class='" << style << "' x='" << x << "' y='" << y << "'>" << content
            << "</text>\n";
    };
    const auto bar = [&](const char* style, long x, long y, long width, int height) {
        out << "<rect class='" << style << "' x='" << x << "' y='" << y << "' width='" << width
            << "' height='" << height << "' rx='3'/>\n";
    };
    out << "<svg xmlns='http://www.w3.org/2000/svg' role='img' viewBox='0 0 760 "
        << 96 + 208 * chapters.size() << "' width='760'>\n<title>" << headline << "</title>"
        << R"(
<style>
text { font: 14px "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", sans-serif; fill: #1f2937 }
.title { font-size: 16px; font-weight: bold }
.program { font-size: 13px; fill: #5b6b7f; text-anchor: end }
.axis { font-size: 12px; fill: #5b6b7f; text-anchor: middle }
.waiting { fill: #fbe3d4; stroke: #d55e00 }
.served { fill: #0072b2; stroke: #0072b2 }
.grid { fill: #8a97a8 }
.paper { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.program, .axis { fill: #9fb0c3 }
.waiting { fill: #43250f; stroke: #e69f00 }
.served { fill: #56b4e9; stroke: #56b4e9 }
.grid { fill: #6b7a8c }
.paper { fill: #0d1117 }
}
</style>
<rect class='paper' width='100%' height='100%' rx='12'/>
)";
    text("title", 28, 38, headline);
    bar("waiting", 28, 54, 28, 12);
    text("legend", 64, 65, "最初の返事を待つ");
    bar("served", 208, 54, 28, 12);
    text("legend", 244, 65, "やりとりする");
    long y = 112;
    for (const Chapter& chapter : chapters) {
        text("title", 28, y, chapter.title);
        text("program", 732, y, chapter.program);
        for (int second = 0; second <= longest; ++second) {
            bar("grid", column(second), y + 12, 1, 84);
            text("axis", column(second), y + 110, std::to_string(second) + " 秒");
        }
        for (long row = y + 16; const auto& [name, connected, answered, left] : chapter.visits) {
            text("name", 34, row + 15, {name});
            if (column(answered) > column(connected)) { // 幅 0 でも枠線は描かれてしまう
                bar("waiting", column(connected), row, column(answered) - column(connected), 20);
            }
            bar("served", column(answered), row, column(left) - column(answered), 20);
            row += 26;
        }
        text("conclusion", 28, y + 136, conclusion(chapter.visits));
        text("conclusion", 28, y + 158, chapter.among_silent);
        y += 208;
    }
    out << "</svg>\n";
}

} // namespace

int main(int argc, char* argv[]) {
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    const char* const clear = terminal ? "\r\033[K" : ""; // 測っている間の一行は、あとで消す
    std::vector<Chapter> chapters;
    double longest = 0; // どの章も同じ物差しで描く
    for (const std::string& program : std::vector<std::string>(argv + 1, argv + argc)) {
        const std::string title = title_of(program);
        std::cout << clear << (terminal ? title + " を測っています..." : "") << std::flush;
        try {
            chapters.push_back({program, title, measure(program), measure_among_silent(program)});
        } catch (const std::exception& error) {
            const std::string reason = error.what();
            std::cerr << clear << "error: " << program << ": "
                      << reason.substr(0, reason.find('\n')) << "\n";
            return 1;
        }
        longest =
            std::max(longest, std::ranges::max(chapters.back().visits, {}, &Visit::left).left);
    }
    std::cout << clear;
    draw_text(std::cout, chapters, longest, terminal);
    if (const char* const path = std::getenv("SVG"); path != nullptr && *path != '\0') {
        std::ofstream file(path);
        draw_svg(file, chapters, longest);
        if (!file.flush()) {
            die_with_error({errno, std::generic_category(), "write " + std::string(path)});
        }
    }
}
