# make bench の数を図にする: gnuplot -c tests/bench/bench.gnuplot build/bench.csv build
# 点と棒は中央値、縦の線は最小から最大まで。

data = ARG1
servers = system("awk -F, '$2 == \"churn\" && !seen[$1]++ { print $1 }' '" . data . "'")
count = words(servers)

# 測ったサーバーが多ければ、名前の並ぶ分だけ大きくする。
set terminal svg size (count > 8 ? 1440 : 960),(count > 8 ? 200 + 28 * count : 400) noenhanced font "Noto Sans CJK JP,Hiragino Sans,sans-serif" background "white"
set datafile separator comma columnheaders missing NaN
set border 3 lc rgb "#888888"
set grid ytics lc rgb "#dddddd" lt 1
set tics nomirror
set style fill solid 0.85 noborder
set boxwidth 0.6
# 色だけに頼らないよう、点の形も変える。
color(i) = word("#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #8B5A2B #555555", (int(i) - 1) % 8 + 1)
shape(i) = int(word("7 5 9 13 11 15 6 4", (int(i) - 1) % 8 + 1))

# 列は server, load, connections, result, median, min, max。今の行がその名前の結果なら、
# 横の位置。違えば描かない。同じ N の点が重ならないよう、少しずつ横にずらす。
pick(i, load, result, x) = strcol(1) eq word(servers, int(i)) && strcol(2) eq load && strcol(4) eq result ? x : NaN
bar(i) = pick(i, "churn", "CPU us", column(3) == 8 ? int(i) : NaN)
# その結果のあるサーバーの番号。ないもの (一人しか相手にしないサーバーの 1% など) は描かない。
having(load, result) = system("awk -F, -v load='" . load . "' -v result='" . result . "' '" . \
    "$2 == \"churn\" && !at[$1] { at[$1] = ++n } $2 == load && $4 == result && !seen[$1]++ { print at[$1] }' '" . data . "'")
at(i, load, result) = pick(i, load, result, column(3) * 1.06 ** (i - (count + 1) / 2.0))

set output ARG2 . "/bench-cpu.svg"
set multiplot layout 1, 2
set ylabel "マイクロ秒"
set yrange [0:*]
set title "接続一本の CPU 時間 (churn、N は 8)"
set xrange [0.4:count + 0.6]
set xtics rotate by (count > 4 ? -30 : 0) ()
do for [i = 1:count] { set xtics add (word(servers, i) i) }
unset key
plot for [i in having("churn", "CPU us")] data using (bar(i)):5 with boxes lc rgb color(i), \
     for [i in having("churn", "CPU us")] data using (bar(i)):6:(0):($7 - $6) with vectors nohead lc rgb "#222222", \
     for [i in having("churn", "CPU us")] data using (bar(i)):5:(sprintf("%.0f", $5)) with labels right offset -0.7, 0.7

set title "一往復の CPU 時間 (hold)"
set xlabel "つないだままの接続の数 N"
set logscale x
set xrange [0.7:15000]
set xtics norotate (1, 10, 100, 1000, 10000)
set key outside right center vertical Left reverse samplen 2
plot for [i in having("hold", "CPU us")] data using (at(i, "hold", "CPU us")):5:6:7 with yerrorlines lw 2 pt shape(i) lc rgb color(i) title word(servers, int(i)), \
     data using (strcol(2) eq "floor" ? 0.7 : NaN):5:(15000):(0) with vectors nohead dt 2 lc rgb "#222222" title "下限"
unset multiplot

# poll は N 本のすべてを、epoll は準備のできたものだけを見る。両対数なら、比例は傾き 1 の直線になる。
set output ARG2 . "/bench-ready.svg"
set multiplot layout 1, 2
set logscale y
set yrange [1:*]
set title "一本だけが話すときの、一往復の CPU 時間"
plot for [i in having("hold", "one us")] data using (at(i, "hold", "one us")):5:6:7 with yerrorlines lw 2 pt shape(i) lc rgb color(i) title word(servers, int(i))
set title "百本に一本が話すときの、一往復の CPU 時間 (1%)"
if (words(having("1%", "CPU us")) > 0) plot for [i in having("1%", "CPU us")] data using (at(i, "1%", "CPU us")):5:6:7 with yerrorlines lw 2 pt shape(i) lc rgb color(i) title word(servers, int(i))
unset multiplot

set output ARG2 . "/bench-latency.svg"
set title "ほかが黙っているときの、一往復の時間 (実線は p50、点線は p99)"
set logscale y
set yrange [10:*]
plot for [i in having("hold", "p50 us")] data using (at(i, "hold", "p50 us")):5:6:7 with yerrorlines lw 2 pt shape(i) lc rgb color(i) title word(servers, int(i)), \
     for [i in having("hold", "p99 us")] data using (at(i, "hold", "p99 us")):5 with linespoints dt 2 pt shape(i) ps 0.6 lc rgb color(i) notitle

set output ARG2 . "/bench-memory.svg"
set title "つないだままの接続一本で増えるメモリ (PSS とページテーブル)"
set ylabel "KiB"
unset logscale y
set yrange [0:*]
plot for [i in having("hold", "KiB")] data using (at(i, "hold", "KiB")):5:6:7 with yerrorlines lw 2 pt shape(i) lc rgb color(i) title word(servers, int(i))
