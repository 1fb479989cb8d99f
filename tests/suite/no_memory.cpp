// メモリの足りないサーバーを作る共有ライブラリ (man 8 ld.so の LD_PRELOAD)。
// k 回目の SIGUSR1 が届くと、そのあとの k 回目の new が失敗する。SIGUSR2 なら、次の new。

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int> signals = 0;
std::atomic<int> left = 0; // 失敗するまでの回数。0 なら失敗しない

[[maybe_unused]] const auto counted = std::signal(SIGUSR1, [](int) { left = ++signals; });
[[maybe_unused]] const auto at_once = std::signal(SIGUSR2, [](int) { left = 1; });

} // namespace

void* operator new(std::size_t size) {
    void* const memory = left > 0 && --left == 0 ? nullptr : std::malloc(size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

void operator delete(void* memory) noexcept {
    std::free(memory);
}

void operator delete(void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}
