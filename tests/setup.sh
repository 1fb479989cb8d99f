#!/bin/sh
# テストと実験と測定に要るものを入れる。入れ方を知らない OS では、要るものの一覧だけを言う。
set -eu

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
# nc は OpenBSD のもの (入力が終わったら送る向きを閉じる -N がある)。
if command -v apt-get >/dev/null; then
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        doctest-dev faketime haproxy iproute2 netcat-openbsd patch procps python3 strace systemd >/dev/null
    peers="$sudo apt-get install -y -qq --no-install-recommends libasio-dev libevent-dev libuv1-dev"
elif command -v dnf >/dev/null; then
    $sudo dnf install -y -q \
        diffutils doctest-devel gawk haproxy iproute libfaketime libtsan netcat patch procps-ng python3 strace \
        systemd
    peers="$sudo dnf install -y -q asio-devel libevent-devel libuv-devel"
elif command -v apk >/dev/null; then
    $sudo apk add -q \
        bash diffutils doctest-dev haproxy iproute2 libfaketime netcat-openbsd patch procps python3 strace
    peers="$sudo apk add -q asio-dev libevent-dev libuv-dev"
elif command -v brew >/dev/null; then
    brew install doctest
else
    echo 'setup: 次のものを入れてください: doctest, patch, ps (procps), python3, ss (iproute2), nc (OpenBSD), strace' >&2
    exit 1
fi
# make bench で並べるライブラリは、なくてもよい。
${peers:-:} >/dev/null || echo 'setup: Asio, libevent, libuv が入らないので、make bench はそれを省きます'
echo 'setup: テストに要るものがそろいました'
