// make check の答え: 結果を、読者に日本語で言う。落ちたら、どのわざと壊したサーバーと同じかを、
// tests/mutants/ のパッチの頭の "Fails" の行 (落ちるテスト) から探す。

#include "tests/suite/servers.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

namespace {

using Names = std::set<std::string>;

Names passing;
std::map<std::string, std::string> failing; // テストの名前と、落ちたわけ
unsigned only_design = 0; // failing のうち、この章の方式と違うことだけを言うものの数
std::string design; // その、はじめの一つのわけ

// わざと壊したサーバー一つ。
struct Mutant {
    std::string name;
    std::string place; // 読むところ
    Names explains;    // failing のうち、これなら落ちるもの
};

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) {
        const size_t first = part.find_first_not_of(' ');
        const size_t last = part.find_last_not_of(' ');
        parts.push_back(first == part.npos ? "" : part.substr(first, last - first + 1));
    }
    return parts;
}

// text が "01-04,06" なら、foreign_chapter がその中にあるか。
bool covers(const std::string& text) {
    return std::ranges::any_of(split(text, ','), [](const std::string& range) {
        return range.substr(0, 2) <= foreign_chapter &&
               foreign_chapter <= range.substr(range.size() - 2);
    });
}

// "Fails 01-04: RST:眠らない | 止めたあと?" のような行のうち、この章のもの。テストの名前の初めと、
// あれば、わけの一部。? がつけば、落ちないこともある。落ちるはずのテストに通っていれば、空。
Names explained_by(const std::string& line) {
    Names explains;
    for (const std::string& entry : split(line, '|')) {
        const bool sure = !entry.ends_with('?');
        const size_t end = entry.size() - (sure ? 0 : 1);
        const size_t colon = std::min(entry.find(':'), end);
        const std::string start = entry.substr(0, colon);
        const std::string why = colon == end ? "" : entry.substr(colon + 1, end - colon - 1);
        const auto starts = [&](const std::string& name) { return name.starts_with(start); };
        const size_t before = explains.size();
        bool ran = std::ranges::any_of(passing, starts);
        for (const auto& [name, problem] : failing) {
            ran = ran || starts(name);
            if (starts(name) && problem.find(why) != problem.npos) {
                explains.insert(name);
            }
        }
        if (sure && ran && explains.size() == before) {
            return {};
        }
    }
    return explains;
}

std::vector<Mutant> fitting_mutants() {
    std::vector<Mutant> mutants;
    for (const auto& entry : std::filesystem::directory_iterator("tests/mutants")) {
        Mutant mutant = {.name = entry.path().stem(), .place = "", .explains = {}};
        std::ifstream patch(entry.path());
        for (std::string line; std::getline(patch, line) && !line.empty();) {
            const size_t colon = line.find(": ");
            if (line.starts_with("Read: ")) {
                mutant.place = line.substr(colon + 2);
            } else if (line.starts_with("Fails ") && covers(line.substr(6, colon - 6))) {
                mutant.explains.merge(explained_by(line.substr(colon + 2)));
            }
        }
        if (!mutant.explains.empty()) {
            mutants.push_back(mutant);
        }
    }
    std::ranges::sort(mutants, {}, &Mutant::name);
    return mutants;
}

// 落ちたテストをすべて説明するなら、壊し方の名前を言う。多くを説明するものから選ぶ。なければ空。
std::string diagnosis() {
    std::ostringstream text;
    std::vector<Mutant> mutants = fitting_mutants();
    Names left;
    for (const auto& [name, problem] : failing) {
        left.insert(name);
    }
    while (!left.empty()) {
        for (Mutant& mutant : mutants) {
            std::erase_if(mutant.explains, [&](const auto& name) { return !left.contains(name); });
        }
        const auto best = std::ranges::max_element(
            mutants, {}, [](const Mutant& mutant) { return mutant.explains.size(); });
        if (best == mutants.end() || best->explains.empty()) {
            return "";
        }
        std::string names;
        std::string places;
        const Names explained = best->explains;
        for (const Mutant& mutant : mutants) {
            if (mutant.explains == explained) {
                names += (names.empty() ? "" : " か ") + mutant.name;
                places += "  → " + mutant.place + "、make mutant NAME=" + mutant.name +
                          " で作って比べられます\n";
            }
        }
        text << "診断: あなたのサーバーは " << names << " と同じ壊れ方をしています\n" << places;
        for (const std::string& name : explained) {
            text << "      " << name << "\n";
            left.erase(name);
        }
    }
    return text.str();
}

// すべて通ったあとに、することを一つ。
const char* next_step() {
    static const std::map<std::string, const char*> steps = {
        {"01", "第2章: 一人が黙っていると、あとの人は返事をもらえません (docs/02-fork.md)"},
        {"02", "第3章: 黙っているだけの人にも、プロセスを一つ使っています (docs/03-threads.md)"},
        {"03", "第4章: スレッドの数を決めているのは、来る人です (docs/04-thread-pool.md)"},
        {"04", "第5章: 64 人が黙ると、65 人目は話せません (docs/05-poll.md)"},
        {"05", "第6章: 話すのが一人でも、poll は全員を調べます (docs/06-epoll.md)"},
        {"06", "第7章: 黙ったまま去らない人を、いつまでも待っています (docs/07-timeouts.md)"},
        {"07", "第8章: 止めると、まだ返していないバイトは消えます (docs/08-shutdown.md)"},
        {"08", "第9章: 使っているコアは一つです (docs/09-multi-core.md)"},
        {"09", "第10章: 一人との話が、いくつもの関数に分かれています (docs/10-coroutines.md)"},
        {"10", "第11章: 読む相手と、送る相手が違えば、どうなるでしょうか (docs/11-chat.md)"},
        {"11",
         "測る: make bench QUICK=1 SERVERS='自分のサーバー {port}' で、章のサーバーと並べます"},
    };
    return steps.at(foreign_chapter);
}

// はじめの失敗だけを見せる。式や変数の名前は見せない: わけは、テストの INFO と MESSAGE が言う。
struct Reader : Quiet {
    doctest::TestCaseData test;
    std::string problem;
    std::string place;
    std::map<std::string, int> untold; // 確かめていないわけと、そのテストの数
    int elsewhere = 0;                 // この章には当てはまらないテストの数
    bool basic = false;                // 土台のテストから始めた
    const std::chrono::seconds limit{number_from_environment("TIME_LIMIT", 45)};
    const std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
    explicit Reader(const doctest::ContextOptions& /*options*/) {}

    void add(const std::string& text) {
        if (text.starts_with("読むところ: ")) {
            place = "    " + text + "\n";
        } else {
            problem += "    " + text + "\n";
        }
    }
    bool is(const char* kind) const {
        return test.m_description != nullptr && std::string(test.m_description) == kind;
    }
    void test_case_start(const doctest::TestCaseData& data) override {
        test = data;
        problem = place = last_words = unchecked = "";
    }
    void log_assert(const doctest::AssertData& data) override {
        if (!data.m_failed || !problem.empty()) {
            return;
        }
        for (int i = 0; i < get_num_active_contexts(); ++i) {
            std::ostringstream out;
            get_active_contexts()[i]->stringify(&out);
            add(out.str());
        }
        if (data.m_threw) {
            const std::string text = data.m_exception.c_str(); // 引用符で囲まれている
            add(text.substr(1, text.size() - 2));
        }
    }
    void test_case_exception(const doctest::TestCaseException& error) override {
        if (problem.empty()) {
            for (int i = get_num_stringified_contexts(); i-- > 0;) { // 内側のものから並んでいる
                add(get_stringified_contexts()[i].c_str());
            }
            add(error.error_string.c_str());
        }
    }
    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        const bool good = stats.failure_flags == doctest::TestCaseFailureReason::None;
        if (good && stats.numAssertsCurrentTest == 0) {
            (unchecked.empty() ? elsewhere : untold[unchecked]) += 1;
            return;
        }
        basic = basic || is("土台");
        if (good) {
            passing.insert(test.m_name);
        } else {
            failing[test.m_name] = problem + last_words;
        }
        std::cout << (good ? "  ○ " : "  × ") << test.m_name << "\n"
                  << (good ? "" : problem + place + last_words) << std::flush;
        if (!good && is("方式")) {
            ++only_design;
            design = design.empty() ? problem.substr(4, problem.find('\n') - 4) : design;
        }
        if (!good && is("土台")) {
            std::cout << diagnosis() << "ほかのことは、これを直してから確かめます\n";
            count();
            std::exit(1);
        }
        if (!failing.empty() && std::chrono::steady_clock::now() - begin > limit) {
            std::cout << "時間がかかるので、あとのテストは省きます\n";
            test_run_end({});
            std::exit(1);
        }
    }
    void test_run_end(const doctest::TestRunStats& /*stats*/) override {
        if (elsewhere > 0) {
            std::cout << "  ほか " << elsewhere << " 個は、この章には当てはまらない\n";
        }
        if (!failing.empty() && failing.size() == only_design) {
            std::cout << "診断: 正しく動きますが、この章の方式ではありません。" << design << "\n";
        } else if (!failing.empty()) {
            const std::string text = diagnosis();
            std::cout << (text.empty()
                              ? "診断: わざと壊したサーバーのどれとも違います。はじめの × の"
                                "わけと「読むところ」から始めてください\n"
                              : text);
        } else if (basic) {
            std::cout << "次は、" << next_step() << "\n";
        }
        count();
    }
    void count() const {
        int skipped = 0;
        std::string causes;
        for (const auto& [cause, tests] : untold) {
            skipped += tests;
            causes += (causes.empty() ? "" : "。") + cause + "は確かめていません";
        }
        std::cout << passing.size() << " passed, " << failing.size() << " failed";
        if (skipped > 0) {
            std::cout << ", " << skipped << " skipped (" << causes << ")";
        }
        std::cout << std::endl;
    }
};
REGISTER_REPORTER("reader", 0, Reader);

} // namespace
