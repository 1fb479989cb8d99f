# make bench の数を図にする: gnuplot -c tests/bench.gnuplot build/bench.csv build
# 棒と線は中央値、小さい点は一つ一つのラウンド。

data = ARG1
servers = system("awk -F, '$2 == \"churn\" && !seen[$1]++ { print $1 }' '" . data . "'")
count = words(servers)

# bench.csv の列
connections = 3; p50 = 6; p99 = 7; cpu = 9; memory = 10

set terminal svg size 960,400 noenhanced font "Noto Sans CJK JP,Hiragino Sans,sans-serif" background "white"
set datafile separator comma columnheaders missing NaN
set border 3 lc rgb "#888888"
set grid ytics lc rgb "#dddddd" lt 1
set tics nomirror
set style fill solid 0.85 noborder
set boxwidth 0.6

# 色だけに頼らないよう、点の形も変える。
array colors[8] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B5A2B", "#555555"]
color(i) = colors[(i - 1) % 8 + 1]
shape(i) = word("7 5 9 13 11 15 6 4", (i - 1) % 8 + 1) + 0

# 今の行が、その名前、負荷、ラウンドのものなら value、違えば描かない。
is_round(round) = round eq "each" ? strstrt("123456789", strcol(4)[1:1]) > 0 : strcol(4) eq round
pick(name, load, round, value) = strcol(1) eq name && strcol(2) eq load && is_round(round) ? value : NaN
churn(i, round) = column(connections) == 8 ? pick(word(servers, i), "churn", round, i) : NaN
# 同じ N の点が重ならないよう、少しずつ横にずらす。
hold(i, round) = pick(word(servers, i), "hold", round, column(connections) * 1.06 ** (i - (count + 1) / 2.0))

# ---- CPU 時間 ----
set output ARG2 . "/bench-cpu.svg"
set multiplot layout 1, 2
set ylabel "マイクロ秒"
set yrange [0:*]

set title "接続一本の CPU 時間 (churn)"
set xrange [0.4:count + 0.6]
set xtics ()
do for [i = 1:count] { set xtics add (word(servers, i) i) }
if (count > 4) { set xtics rotate by -30 }
unset key
plot for [i = 1:count] data using (churn(i, "median")):(column(cpu)) with boxes lc rgb color(i), \
     for [i = 1:count] data using (churn(i, "each")):(column(cpu)) with points pt 7 ps 0.3 lc rgb "#222222", \
     for [i = 1:count] data using (churn(i, "median")):(column(cpu)):(sprintf("%.0f", column(cpu))) with labels offset 3, 0.6, \
     for [i = 1:count] data using (churn(i, "median")):(0):(strlen(strcol(cpu)) ? "" : "n/a") with labels offset 0, 0.6

set title "一往復の CPU 時間 (hold)"
set logscale x
set xrange [0.7:15000]
set xtics norotate (1, 10, 100, 1000, 10000)
set xlabel "つないだままの接続の数 N"
set key outside right center vertical Left reverse samplen 2
plot for [i = 1:count] data using (hold(i, "median")):(column(cpu)) with linespoints lw 2 pt shape(i) lc rgb color(i) title word(servers, i), \
     for [i = 1:count] data using (hold(i, "each")):(column(cpu)) with points pt 7 ps 0.25 lc rgb color(i) notitle, \
     data using (pick("(floor)", "floor", "median", 0.7)):(column(cpu)):(15000):(0) with vectors nohead dt 2 lc rgb "#222222" title "床"
unset multiplot

# ---- 往復の時間 ----
set output ARG2 . "/bench-latency.svg"
set title "一往復の時間 (hold): 実線は半分の回がこれ以内 (p50)、点線は 99% の回がこれ以内 (p99)"
set logscale y
set yrange [*:*]
set format y "%.0s %cs"
set ylabel "時間"
plot for [i = 1:count] data using (hold(i, "median")):(column(p50) / 1e6) with linespoints lw 2 pt shape(i) lc rgb color(i) title word(servers, i), \
     for [i = 1:count] data using (hold(i, "median")):(column(p99) / 1e6) with linespoints lw 1 dt 2 pt shape(i) ps 0.6 lc rgb color(i) notitle

# ---- メモリ ----
set output ARG2 . "/bench-memory.svg"
set title "つないだままの接続一本あたりのメモリ (PSS。カーネルの中の分は含まない)"
set format y "%g"
set ylabel "KiB"
plot for [i = 1:count] data using (hold(i, "median")):(column(memory)) with linespoints lw 2 pt shape(i) lc rgb color(i) title word(servers, i), \
     for [i = 1:count] data using (hold(i, "each")):(column(memory)) with points pt 7 ps 0.25 lc rgb color(i) notitle
