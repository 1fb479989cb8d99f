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
# 答えを待つことがあるので、すぐには終わらない。
if said=$(python3 tests/notes/check_notes.py "$build/exercise-$name.md"); then
    echo "正解です: 練習問題 $name"
else
    echo "$said" | sed '$d; s/ノート:/期待:  /; s/本物:  /実際:  /'
    echo "練習問題 $name は、期待したとおりに動きません (打ったものは $build/exercise-$name.md にあります)"
    exit 1
fi
