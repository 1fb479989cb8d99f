// テストの入り口。doctest のまとめのあとに、"N passed, M failed" という一行を書く。
// --server='./my-server {port}' を渡すと、読者のサーバーだけを確かめる (tests/check/verdict.cpp)。

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/suite/servers.h"

#include <cstdio>
#include <iostream>
#include <string_view>
#include <sys/resource.h>

namespace {

unsigned passed = 0;
unsigned failed = 0;
unsigned skipped = 0; // 道具がなくて、確かめられなかったもの

// 終わったときの数を受け取る。
struct Report : Quiet {
    unsigned empty = 0; // 当てはまるサーバーがなく、何も確かめなかったテスト
    explicit Report(const doctest::ContextOptions& /*options*/) {}

    static void name_server() {
        std::cout << (foreign_server.empty() ? "  起こしたもの: " + latest + "\n" : "");
    }

    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        const bool good = stats.failure_flags == doctest::TestCaseFailureReason::None;
        empty += good && stats.numAssertsCurrentTest == 0 ? 1 : 0;
        if (!good && !own_program.empty()) { // make why が知りたいのは、気づいたことだけ
            std::exit(1);
        }
    }
    void test_run_end(const doctest::TestRunStats& stats) override {
        failed = stats.numTestCasesFailed;
        passed = stats.numTestCasesPassingFilters - failed - empty;
    }
    void test_case_skipped(const doctest::TestCaseData& data) override {
        skipped += data.m_skip ? 1 : 0;
    }
    void test_case_exception(const doctest::TestCaseException& /*error*/) override {
        name_server();
    }
    void log_assert(const doctest::AssertData& data) override {
        if (data.m_failed) {
            name_server();
        }
    }
};
REGISTER_LISTENER("report", 1, Report);

} // namespace

int main(int argc, char* argv[]) {
    std::string seconds = "30";
    struct {
        std::string_view name;
        std::string& value;
    } const options[] = {{"--build=", build_directory},
                         {"--server=", foreign_server},
                         {"--chapter=", foreign_chapter},
                         {"--program=", own_program},
                         {"--deadline=", seconds}};
    for (const std::string_view argument : std::vector<std::string_view>(argv, argv + argc)) {
        for (const auto& option : options) {
            if (argument.starts_with(option.name)) {
                option.value = argument.substr(option.name.size());
            }
        }
    }
    deadline = std::chrono::seconds(std::stoi(seconds));
    // 千のクライアントをつなぐので、ディスクリプタの上限を許されるだけ上げる。
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    impatient = !foreign_server.empty();
    const std::string obstacle = find_obstacle();
    if (!obstacle.empty()) {
        std::cerr << obstacle << "\n";
        return 2;
    }

    doctest::Context context(argc, argv);
    if (!foreign_server.empty()) {
        context.setOption("test-suite", "protocol*");
        context.setOption("order-by", "suite");
        context.setOption("reporters", "reader");
    }
    const int status = context.run();
    if (context.shouldExit()) { // --help など
        return status;
    }
    if (foreign_server.empty()) {
        std::printf("%u passed, %u failed", passed, failed);
        std::printf(skipped > 0 ? ", %u skipped\n" : "\n", skipped);
    }
    return passed + failed == 0 ? 1 : status; // 一つも走らなければ、成功とは言わない
}
