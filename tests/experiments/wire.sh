# サーバーとクライアントを別々のコンピューターに見立て、ケーブルでつなぐ (docs/more/01-iterative.md)。
# Linux の名前空間を使うので、root の権限は要らない。端末で . tests/experiments/wire.sh と打つと、
#   wire 50 20   片道に 50 ミリ秒かかり、20 個に一つのパケットを失うケーブルを張る (省くと 0 と 0)。Ctrl-C で外す
#   near 命令    10.0.0.1 のコンピューターで命令を実行する
#   far 命令     10.0.0.2 のコンピューターで命令を実行する
#   pull, plug   10.0.0.2 の側のケーブルを抜く、挿す
# が使える。キープアライブも、再送をあきらめるまでの時間も、十数秒より短くしてある。
enter() { nsenter --user --preserve-credentials --net --target "$(cat "/tmp/wire.$1")" "${@:2}"; }
near() { enter near "$@"; }
far() { enter far "$@"; }
pull() { enter between ip link set right down; }
plug() { enter between ip link set right up; }
wire() {
    unshare -Urn true || { echo 'wire: 名前空間を作れません。どの端末でも sudo -s で root になってから打ってください' >&2 && return 1; }
    unshare -Urn bash -ec "$between" wire "${1:-0}" "${2:-0}"
}
between='
computer() { # 一台を名前空間として作り、線の端とアドレスを渡す: computer 名前 アドレス
    unshare -n sleep infinity & # 名前空間は、その中のプロセスがある間だけ続く
    echo $! >/tmp/wire.$1
    until [ "$(cat /proc/$!/comm)" = sleep ]; do sleep 0.1; done
    ip link set $1 netns $!
    nsenter --net --target $! sh -ec "ip link set lo up; ip address add $2/24 dev $1
        ip link set $1 up gso_max_segs 1; cd /proc/sys/net/ipv4
        echo 3 >tcp_keepalive_time; echo 1 >tcp_keepalive_intvl; echo 5 >tcp_keepalive_probes
        echo 5 >tcp_retries2"
}
trap "kill \$(jobs -p)" EXIT
echo $$ >/tmp/wire.between
ip link add near type veth peer name left; ip link set left up; computer near 10.0.0.1
ip link add far type veth peer name right; ip link set right up; computer far 10.0.0.2
python3 tests/experiments/wire.py "$@"'
