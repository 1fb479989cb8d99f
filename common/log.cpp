#include "common/log.h"

#include "common/platform.h"
#include "common/standard_io.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <unistd.h>

void Line::add(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), sizeof text_ - 1 - size_); // 改行の分を残す
    std::memcpy(text_ + size_, text.data(), size);
    size_ += size;
}

void Line::add_number(long long number) noexcept {
    char digits[20]; // "-9223372036854775808" が入る
    const auto result = std::to_chars(digits, digits + sizeof digits, number);
    add({digits, static_cast<std::size_t>(result.ptr - digits)});
}

void Line::write() noexcept {
    text_[size_] = '\n';
    write_output(text_, size_ + 1);
}

Line line_with_ids() noexcept {
    Line line;
    line.add("[pid ");
    line.add(getpid());
    line.add(" tid ");
    line.add(thread_id());
    line.add("] ");
    return line;
}

void die_with_error(const std::system_error& error) noexcept {
    static std::mutex dying;
    dying.lock(); // 解放しない: 同時に失敗したほかのスレッドは、ここで終わりを待つ
    std::fprintf(stderr, "error: %s\n", error.what());
    _exit(1);
}
