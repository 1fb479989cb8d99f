# 大勢のクライアントを、黙らせたままつないでおく (docs/03-threads.md)。端末で . tests/experiments/crowd.sh と打つと、
#   crowd 100   100 人がそろってつなぎ、全員がつながるまで待つ
#   leave       全員が帰り、いなくなるまで待つ
#   sleeps 名前 スレッドの眠った回数を数える (docs/04-thread-pool.md)
# が使える。どのクライアントも、名前つきパイプ (FIFO) が閉じるまで、入力を待ちつづける。
connections() { ss -Htn state established state close-wait "dport = :7777" | wc -l; }
crowd() {
    rm -f /tmp/gate && mkfifo /tmp/gate
    (for i in $(seq "$1"); do build/client 7777 </tmp/gate 2>/dev/null & done)
    exec 9>/tmp/gate
    until [ "$(connections)" -ge "$1" ]; do sleep 0.1; done
}
leave() {
    exec 9>&-
    until [ "$(connections)" -eq 0 ]; do sleep 0.1; done
}

# 名前が $1 のプログラムの、どのスレッドも眠っている。起きたばかりなら、まだ眠っていない。
asleep() { ! grep -q '^State:.R' /proc/$(pgrep -n -x "$1")/task/*/status; }

# どのスレッドも眠るのを待ち、眠った回数を、一行に一つずつ書く。
sleeps() {
    until asleep "$1"; do sleep 0.1; done
    grep -h '^voluntary' /proc/$(pgrep -n -x "$1")/task/*/status
}
