# 動いている HAProxy に指図する (docs/more/replacing.md)。端末で . tests/experiments/haproxy.sh と打つと、
#   ask 'set server echo/s1 state drain'   指図を送り、答えを表示する
#   state                                  サーバーの名前、今の接続の数、状態を表示する
# が使える。
ask() { echo "$1" | nc -N -U /tmp/haproxy.sock 2>/dev/null | grep .; }
state() { ask 'show stat' | cut -d , -f 2,5,18 | grep '^s[12]'; }
