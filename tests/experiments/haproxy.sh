# 動いている HAProxy に指図する (docs/more/replacing.md)。端末で . tests/experiments/haproxy.sh と打つと、
#   ask 'set server echo/s1 state drain'   指図を送り、答えを表示する
#   state                                  サーバーの名前、今の接続の数、状態を表示する
#   replace s2 7782                        新しい接続を止め、なくなるのを待ってサーバーを入れ替える
# が使える。サーバーは restart.sh で起動し、ログを /tmp/s1.txt と /tmp/s2.txt に書いておく。
ask() { echo "$1" | nc -N -U /tmp/haproxy.sock 2>/dev/null | grep .; }
state() { ask 'show stat' | cut -d , -f 2,5,18 | grep '^s[12]'; }
replace() {
    ask "set server echo/$1 state drain"
    until state | grep "^$1,0,"; do sleep 0.1; done
    pkill -TERM -x -f "build/chapter08 $2"
    until tail -n 1 "/tmp/$1.txt" | grep -q listening; do sleep 0.1; done
    tail -n 2 "/tmp/$1.txt" | grep -o 'stopped.*\|listening.*'
    ask "set server echo/$1 state ready"
}
