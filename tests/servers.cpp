#include "tests/servers.h"

const std::vector<Model>& models() {
    const bool concurrent = foreign_chapter != "01";
    static const std::vector<Model> ours = {
        {"chapter01", build_directory + "/chapter01", false, false, false},
        {"chapter02", build_directory + "/chapter02", true, true, false},
        {"chapter03", build_directory + "/chapter03", true, false, true},
    };
    static const std::vector<Model> foreign = {{foreign_server, foreign_server, concurrent,
                                                foreign_chapter == "02", foreign_chapter == "03",
                                                false}};
    return foreign_server.empty() ? ours : foreign;
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
