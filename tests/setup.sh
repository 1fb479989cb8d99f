#!/bin/sh
# テストと実験と測定に要るものを入れる。入れ方を知らない OS では、要るものの一覧だけを言う。
set -eu

if command -v apt-get >/dev/null; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # 空のときは、引数そのものをなくす
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        doctest-dev gnuplot-nox iproute2 netcat-openbsd patch procps python3 strace >/dev/null
elif command -v brew >/dev/null; then
    brew install doctest
else
    echo 'setup: 次のものを入れてください: doctest, gnuplot, patch, ps (procps), python3, ss (iproute2), nc, strace' >&2
    exit 1
fi
echo 'setup: テストに要るものがそろいました'
