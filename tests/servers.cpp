#include "tests/servers.h"

#include <cstdlib>
#include <filesystem>

namespace {

// make check に渡された引数が誤っているか、サーバーが始まらなければ、そのわけ。
std::string obstacle_to_check() {
    if (foreign_server.empty() && own_program.empty()) {
        return "";
    }
    if (models().empty()) {
        return "CHAPTER は、サーバーのある章の番号です (01 のように): " + foreign_chapter;
    }
    if (foreign_server.empty()) {
        return "";
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
            {.name = "chapter01", .concurrent = false},
            {.name = "chapter02", .forks = true},
            {.name = "chapter03", .threads = true},
            {.name = "chapter04",
             .crew = 64,
             .numbers = " [threads]",
             .help = "  threads  how many clients are served at a time, default 64\n"},
            {.name = "chapter05", .events = true},
            {.name = "chapter06", .events = true, .epoll = true},
            {.name = "variant/prefork",
             .crew = 64,
             .preforks = true,
             .numbers = " [workers]",
             .help = "  workers  how many clients are served at a time, default 64\n"},
            {.name = "variant/queue",
             .crew = 64,
             .hands_over = true,
             .numbers = " [threads]",
             .help = "  threads  how many clients are served at a time, default 64\n"},
            {.name = "variant/select", .events = true, .selects = true},
            {.name = "variant/edge-triggered", .events = true, .epoll = true, .edge = true},
        };
        for (Model& model : models) {
            model.program = build_directory + "/" + model.name;
        }
        // 章を書き換えてパッチがあたらなければ、別の方式のサーバーは作られていない。
        std::erase_if(models, [](const Model& model) {
            return model.name.starts_with("variant/") && !std::filesystem::exists(model.program);
        });
        const std::string only = foreign_server.empty() ? own_program : foreign_server;
        if (!only.empty()) {
            std::erase_if(models, [](const Model& model) {
                return model.name != "chapter" + foreign_chapter;
            });
            for (Model& model : models) {
                model.name = model.program = only;
                model.ours = foreign_server.empty();
            }
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
