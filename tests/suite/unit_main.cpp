// 単体テストの入り口。doctest のまとめのあとに、"N passed, M failed" という一行を書く。

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>

static unsigned ran = 0;

struct Report : doctest::ConsoleReporter {
    using ConsoleReporter::ConsoleReporter;
    void test_run_end(const doctest::TestRunStats& stats) override {
        ConsoleReporter::test_run_end(stats);
        ran = stats.numTestCasesPassingFilters;
        std::cout << ran - stats.numTestCasesFailed << " passed, " << stats.numTestCasesFailed
                  << " failed\n";
    }
};
REGISTER_REPORTER("unit", 0, Report);

int main(int argc, char* argv[]) {
    doctest::Context context(argc, argv);
    context.setOption("reporters", "unit");
    const int status = context.run();
    return ran == 0 && !context.shouldExit() ? 1 : status; // 一つも走らなければ、成功とは言わない
}
