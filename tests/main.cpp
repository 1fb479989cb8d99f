// テストの入り口。doctest のまとめのあとに、"N passed, M failed" という一行を書く。

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/servers.h"

#include <csignal>
#include <cstdio>
#include <string_view>
#include <sys/resource.h>

namespace {

std::string build = "build";
unsigned passed = 0;
unsigned failed = 0;

// doctest から、終わったときの数を受け取る。
struct Totals : doctest::IReporter {
    explicit Totals(const doctest::ContextOptions& /*options*/) {}
    void report_query(const doctest::QueryData& /*data*/) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& stats) override {
        failed = stats.numTestCasesFailed;
        passed = stats.numTestCasesPassingFilters - failed;
    }
    void test_case_start(const doctest::TestCaseData& /*data*/) override {}
    void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
    void test_case_end(const doctest::CurrentTestCaseStats& /*stats*/) override {}
    void test_case_exception(const doctest::TestCaseException& /*error*/) override {}
    void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData& /*data*/) override {}
    void log_message(const doctest::MessageData& /*data*/) override {}
    void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}
};

REGISTER_LISTENER("totals", 1, Totals);

} // namespace

const std::vector<Model>& models() {
    static const std::vector<Model> all = {
        {"chapter01", build + "/chapter01", false, false, false},
        {"chapter02", build + "/chapter02", true, true, false},
        {"chapter03", build + "/chapter03", true, false, true},
    };
    return all;
}

std::string build_directory() {
    return build;
}

int main(int argc, char* argv[]) {
    constexpr std::string_view option = "--build=";
    for (int i = 1; i < argc; ++i) {
        if (std::string_view(argv[i]).starts_with(option)) {
            build = argv[i] + option.size();
        }
    }
    // 千のクライアントをつなぐので、ディスクリプタの上限を許されるだけ上げる。
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    doctest::Context context(argc, argv);
    const int status = context.run();
    if (!context.shouldExit()) {
        std::printf("%u passed, %u failed\n", passed, failed);
    }
    return passed + failed == 0 ? 1 : status; // 一つも走らなければ、成功とは言わない
}
