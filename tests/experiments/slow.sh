# 時間のかかる仕事をするサーバーを作る (docs/09-multi-core.md)。make all のあとで
# sh tests/experiments/slow.sh と打つと、次の三つができる。
#   /tmp/slow08, /tmp/slow09  ! で始まるデータが届くと、返事の前に /tmp/gate を開く
#   /tmp/work09               返事の前に、CPU で 1 秒ほど計算する
# /tmp/gate は名前つきパイプ (FIFO) で、読むための open は、誰かが書くために開くまで戻らない。
# 別の端末で : > /tmp/gate と打つまで終わらない仕事になる。
set -eu
rm -f /tmp/gate && mkfifo /tmp/gate

# slow 名前 章 返事の前に加える行
slow() {
    { echo '#include <fcntl.h>' && sed "s|ssize_t sent = send|$3\n    &|" "chapters/$2/server.cpp"; } >"/tmp/$1.cpp"
    g++ -std=c++20 -O2 -pthread -I. "/tmp/$1.cpp" build/obj/common/*.o -o "/tmp/$1"
    echo "作ったもの: /tmp/$1"
}
gate='if (data[0] == 33) { close(open("/tmp/gate", O_RDONLY)); } // 33 は ! の文字コード'
slow slow08 08-shutdown "$gate"
slow slow09 09-multi-core "$gate"
slow work09 09-multi-core 'for (volatile long i = 0; i < 2000000000;) { i = i + 1; }'
