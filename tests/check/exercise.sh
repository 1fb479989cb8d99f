#!/bin/sh
# 練習問題を解いたサーバーを確かめる: exercise.sh build 02-3 [サーバー]
# 答えのパッチの頭にある端末の例を、そのサーバー (省けば、章のサーバー) で動かす。
set -eu

build=$1
name=$2
patch=tests/answers/$name.patch
if ! grep -q '^```console' "$patch" 2>/dev/null; then
    echo "EXERCISE=$name はありません。あるのは次のとおりです" >&2
    grep -l '^```console' tests/answers/*.patch | sed 's|.*/\(.*\).patch|  make check EXERCISE=\1|' >&2
    exit 2
fi
server=${3:-$build/chapter$(sed -n 's/^Chapter: \(..\).*/\1/p' "$patch")}
sed "/^--- a/,\$d; s|build/answer/$name|$server|" "$patch" >"$build/exercise-$name.md"
exec python3 tests/notes/check_notes.py "$build/exercise-$name.md"
