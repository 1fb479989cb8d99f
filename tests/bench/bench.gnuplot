# make bench の数を図にする: gnuplot -c tests/bench/bench.gnuplot build/bench.csv build
# 点は中央値、縦の線は最小から最大まで。一枚に二つずつ並べる。

data = ARG1
array names[4] = ["cpu", "ready", "latency", "memory"]
array loads[8] = ["churn", "hold", "hold", "1%", "hold", "hold", "hold", "hold"]
array results[8] = ["CPU us", "CPU us", "one us", "CPU us", "p50 us", "p99 us", "KiB", "thr"]
array titles[8] = ["接続一本の CPU 時間 (churn、マイクロ秒)", "一往復の CPU 時間 (hold、マイクロ秒)", \
    "一本だけが話すときの、一往復の CPU 時間 (マイクロ秒)", "百本に一本が話すときの、一往復の CPU 時間 (マイクロ秒)", \
    "一本だけが話すときの、一往復の時間の p50 (マイクロ秒)", "その p99 (マイクロ秒)", \
    "つないだままの接続一本で増えるメモリ (KiB)", "N 本をつないだときのスレッドの数"]

# 列は server, load, connections, result, median, min, max。p 枚目の図に数のあるサーバーを、番号と名前で
# 選ぶ。一人しか相手にしないサーバーの 1% のように、ないものもある。色と点の形は、番号で決まる。
servers = system("awk -F, '$2 == \"churn\" && !seen[$1]++ { print $1 }' " . data)
count = words(servers)
chosen(p) = system(sprintf("awk -F, '$2 == \"churn\" && !at[$1] { at[$1] = ++n } \
    $2 == \"%s\" && $4 == \"%s\" && !seen[$1]++ { print at[$1] }' %s", loads[p], results[p], data))
# その行の横の位置。ほかの行は描かない。同じ N の点が重ならないよう、少しずつ横にずらす。
at(i, p) = strcol(1) eq word(servers, int(i)) && strcol(2) eq loads[p] && strcol(4) eq results[p] \
    ? column(3) * 1.06 ** (i - (count + 1) / 2.0) : NaN

set terminal svg size 1440,(200 + 28 * count) noenhanced font "Noto Sans CJK JP,Hiragino Sans,sans-serif" background "white"
set datafile separator comma columnheaders missing NaN
set colorsequence podo # 色を見分けにくい人にも見分けられる
set grid ytics
set xlabel "同時につなぐ接続の数 N"
set key outside right center vertical Left reverse samplen 2
# poll は N 本のすべてを、epoll は準備のできたものだけを見る。両対数なら、比例は傾き 1 の直線になる。
set logscale xy
set xrange [0.5:20000]
do for [figure = 1:4] {
    set output ARG2 . "/bench-" . names[figure] . ".svg"
    set multiplot layout 1, 2
    do for [p = 2 * figure - 1:2 * figure] {
        set title titles[p]
        if (words(chosen(p)) > 0) {
            plot for [i in chosen(p)] data using (at(i, p)):5:6:7 \
                with yerrorlines lw 2 linetype int(i) pointtype int(i) title word(servers, int(i))
        }
    }
    unset multiplot
}
