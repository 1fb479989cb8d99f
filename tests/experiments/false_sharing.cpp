// 二つのスレッドが、それぞれ自分のカウンターに足す。二つのカウンターが同じキャッシュラインにあるときと、
// 離れているときの、かかった時間を比べる (docs/more/09-multi-core.md)。

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>

// 続けて置いたもの。合わせて 16 バイトなので、一つのキャッシュラインに入る。
struct {
    alignas(128) std::atomic<long> a{0};
    std::atomic<long> b{0};
} near;

// 離したもの。キャッシュラインは 64 バイトのことが多いが、二つ続きで読みこむ CPU もある。
struct {
    alignas(128) std::atomic<long> a{0};
    alignas(128) std::atomic<long> b{0};
} apart;

void add(std::atomic<long>& counter) {
    for (int i = 0; i < 100'000'000; ++i) {
        counter += 1;
    }
}

void measure(const char* name, std::atomic<long>& a, std::atomic<long>& b) {
    const auto start = std::chrono::steady_clock::now();
    std::thread first(add, std::ref(a));
    std::thread second(add, std::ref(b));
    first.join();
    second.join();
    const auto time = std::chrono::steady_clock::now() - start;
    std::printf("%s: %lld ms\n", name, static_cast<long long>(time / std::chrono::milliseconds(1)));
}

int main() {
    measure("near", near.a, near.b);
    measure("apart", apart.a, apart.b);
}
