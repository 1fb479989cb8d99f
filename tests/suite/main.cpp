// テストの入り口。doctest のまとめのあとに、"N passed, M failed" という一行を書く。
// --server='./my-server {port}' を渡すと、読者のサーバーだけを確かめ、結果を日本語で言う。

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/outside/process.h"
#include "tests/suite/servers.h"

#include <cstdio>
#include <iostream>
#include <sstream>
#include <string_view>
#include <sys/resource.h>

namespace {

unsigned passed = 0;
unsigned failed = 0;
unsigned skipped = 0; // 道具がなくて、確かめられなかったもの

// 終わったときの数を受け取る。make check では、結果を読者に日本語で言う (doctest の表示は
// 出さない)。一つのテストについて、はじめの失敗だけを見せる。
struct Report : doctest::IReporter {
    const bool speaks = !foreign_server.empty();
    unsigned empty = 0; // 当てはまるサーバーがなく、何も確かめなかったテスト
    std::string name;
    std::string problem;
    explicit Report(const doctest::ContextOptions& /*options*/) {}

    void test_case_start(const doctest::TestCaseData& data) override {
        name = data.m_name;
        problem.clear();
        last_words.clear();
    }
    void log_assert(const doctest::AssertData& data) override {
        if (!data.m_failed || !problem.empty()) {
            return;
        }
        std::ostringstream out;
        for (int i = 0; i < get_num_active_contexts(); ++i) {
            out << "    ";
            get_active_contexts()[i]->stringify(&out);
            out << "\n";
        }
        const bool negated = (data.m_at & doctest::assertType::is_false) != 0; // CHECK_FALSE など
        out << (negated ? "    成り立ってはいけないこと: " : "    成り立たなかったこと: ")
            << data.m_expr << "\n";
        if (data.m_threw) {
            out << "    起きたこと: " << data.m_exception.c_str() << "\n";
        } else {
            out << "    値を入れると: " << data.m_decomp << "\n";
        }
        problem = out.str();
    }
    void test_case_exception(const doctest::TestCaseException& error) override {
        std::ostringstream out;
        for (int i = get_num_stringified_contexts(); i-- > 0;) { // 内側のものから並んでいる
            out << "    " << get_stringified_contexts()[i].c_str() << "\n";
        }
        out << "    起きたこと: " << error.error_string.c_str() << "\n";
        problem = problem.empty() ? out.str() : problem;
    }
    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        const bool good = stats.failure_flags == doctest::TestCaseFailureReason::None;
        const bool nothing = good && stats.numAssertsCurrentTest == 0;
        empty += nothing ? 1 : 0;
        if (!good && !own_program.empty()) { // make why が知りたいのは、気づいたことだけ
            std::exit(1);
        }
        if (!speaks) {
            return;
        }
        std::cout << (nothing ? "  － "
                      : good  ? "  ○ "
                              : "  × ")
                  << name
                  << (!nothing ? "\n"
                      : foreign_chapter < "07"
                          ? " (この章には当てはまらない)\n"
                          : " (当てはまらないか、SERVER に {idle-ms} などがない)\n")
                  << problem << (good ? "" : last_words) << std::flush;
    }
    void test_run_end(const doctest::TestRunStats& stats) override {
        failed = stats.numTestCasesFailed;
        passed = stats.numTestCasesPassingFilters - failed - empty;
    }
    void test_case_skipped(const doctest::TestCaseData& data) override {
        skipped += data.m_skip ? 1 : 0;
    }
    void report_query(const doctest::QueryData& /*data*/) override {}
    void test_run_start() override {}
    void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
    void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
    void subcase_end() override {}
    void log_message(const doctest::MessageData& /*data*/) override {}
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
    const std::string obstacle = find_obstacle();
    if (!obstacle.empty()) {
        std::cerr << obstacle << "\n";
        return 2;
    }
    // 千のクライアントをつなぐので、ディスクリプタの上限を許されるだけ上げる。
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    doctest::Context context(argc, argv);
    if (!foreign_server.empty()) {
        context.setOption("test-suite", "protocol");
        context.setOption("reporters", "none");
    }
    const int status = context.run();
    if (context.shouldExit()) { // --help など
        return status;
    }
    std::printf("%u passed, %u failed", passed, failed);
    std::printf(skipped > 0 ? ", %u skipped\n" : "\n", skipped);
    return passed + failed == 0 ? 1 : status; // 一つも走らなければ、成功とは言わない
}
