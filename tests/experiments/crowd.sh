# 大勢のクライアントをつなぎ、何も送らないままにしておく (docs/03-threads.md)。端末で . tests/experiments/crowd.sh と打つと、
#   crowd 100   100 のクライアントがつなぎ、サーバーが受け付け終わるまで待つ
#   leave       すべてのクライアントが切断し、接続がなくなるまで待つ
#   sleeps 名前 スレッドの眠った回数を数える (docs/more/04-thread-pool.md)
#   silent 4000 何も送らない接続を、一つのシェルから 4,000 本開く (docs/04-thread-pool.md)
# が使える。どのクライアントも、ディスクリプタ 9 のパイプが閉じるまで入力を待ち続ける。
connections() { ss -Htn state established state close-wait "dport = :7777" | wc -l; }
# サーバーの待ち行列にある接続の数が変わらなくなった。
settled() {
    local before after
    before=$(ss -Hltn "sport = :7777") && sleep 0.1 && after=$(ss -Hltn "sport = :7777")
    [ "$before" = "$after" ]
}
crowd() {
    exec 9>&- # 前の crowd のクライアントには切断してもらう
    exec 9> >(for i in $(seq "$1"); do build/client 7777 <&0 2>/dev/null & done)
    until [ "$(connections)" -ge "$1" ] && settled; do sleep 0.1; done
}
leave() {
    exec 9>&-
    until [ "$(connections)" -eq 0 ]; do sleep 0.1; done
}

# 名前が $1 のプログラムの、どのスレッドも眠っている。起きたばかりなら、まだ眠っていない。
asleep() { ! grep -q '^State:.R' /proc/$(pgrep -n -x "$1")/task/*/status; }

# どのスレッドも眠るのを待ち、眠った回数を、一行に一つずつ書く (スレッドの名前つきで)。
sleeps() {
    until asleep "$1"; do sleep 0.1; done
    grep '^voluntary' /proc/$(pgrep -n -x "$1")/task/*/status
}

# 一つのシェルから $1 本の接続を開き、何も送らずにそのままにする。Ctrl-C ですべて閉じる (bash だけ)。
silent() (
    ulimit -Sn $(($1 + 64)) || exit
    for i in $(seq "$1"); do exec {fd}<>/dev/tcp/127.0.0.1/7777 || exit; done
    echo "$1 connections"
    sleep infinity
)
