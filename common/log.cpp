#include "common/log.h"

#include "common/platform.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace {

// 改行を含めてこの長さまでの行を組み立て、一度に書く。長すぎる行は切る。
void write_line(bool with_ids, const char* format, std::va_list arguments) noexcept {
    char line[256];
    int used = 0;
    if (with_ids) {
        used = std::snprintf(line, sizeof line, "[pid %d tid %ld] ", getpid(), thread_id());
    }
    used += std::vsnprintf(line + used, sizeof line - static_cast<size_t>(used), format, arguments);
    const auto length = std::min(static_cast<size_t>(used), sizeof line - 1);
    line[length] = '\n';
    while (write(STDOUT_FILENO, line, length + 1) == -1 && errno == EINTR) {
    }
}

} // namespace

void print_line(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write_line(false, format, arguments);
    va_end(arguments);
}

void log_line(const char* format, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, format);
    write_line(true, format, arguments);
    va_end(arguments);
}

void die_with_error(const std::system_error& error) noexcept {
    std::fprintf(stderr, "error: %s\n", error.what());
    std::exit(1);
}
