#include "tests/servers.h"

#include <cstdlib>
#include <set>

namespace {

// make check に渡された引数が誤っているか、サーバーが始まらなければ、そのわけ。
std::string obstacle_to_check() {
    const std::set<std::string> chapters = {"01", "02", "03"};
    if (foreign_server.empty()) {
        return "";
    }
    if (!chapters.contains(foreign_chapter)) {
        return "CHAPTER は 01, 02, 03 のどれかです: " + foreign_chapter;
    }
    if (foreign_server.find("{port}") == std::string::npos) {
        return "SERVER には、ポートの入るところに {port} と書いてください: " + foreign_server;
    }
    try {
        Server::foreign(foreign_server);
        return "";
    } catch (const std::exception& error) {
        return error.what();
    }
}

[[maybe_unused]] const bool registered = (find_obstacle = obstacle_to_check, true);

} // namespace

const std::vector<Model>& models() {
    static const std::vector<Model> chosen = [] {
        std::vector<Model> models = {
            {"chapter01", build_directory + "/chapter01", false, false, false},
            {"chapter02", build_directory + "/chapter02", true, true, false},
            {"chapter03", build_directory + "/chapter03", true, false, true},
        };
        const std::string only = foreign_server.empty() ? own_program : foreign_server;
        if (!only.empty()) {
            std::erase_if(
                models, [](const Model& model) { return !model.name.ends_with(foreign_chapter); });
            models.at(0).program = only;
            models[0].name = only;
            models[0].ours = foreign_server.empty();
        }
        return models;
    }();
    return chosen;
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

int number_from_environment(const char* name, int otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
}
