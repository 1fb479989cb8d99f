#!/bin/sh
# 練習問題を解いたサーバーを確かめる: exercise.sh build 02-3 [サーバー [フォルダー]]
# 答えのパッチの頭にある端末の例を、そのサーバー (省けば、章のサーバー) で動かす。フォルダーは、並べて動かすときに、
# 例の /tmp/log.txt などを置くところ。
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
sed "/^--- a/,\$d; s|build/answer/$name|$server|; s|/tmp/\([a-z]*\.txt\)|${4:-/tmp}/\1|g" "$patch" >"$build/exercise-$name.md"
# 答えを待つことがあるので、すぐには終わらない。道具がなければ、省かずに言う。
echo "練習問題 $name の端末の例を動かしています (1 分ほどかかるものもあります)"
if said=$(CI=true python3 tests/notes/check_notes.py "$build/exercise-$name.md"); then
    echo "正解です: 練習問題 $name"
elif echo "$said" | grep -q '省けません: '; then
    echo "$said" | sed -n 's/.*省けません: .*(\(.*\) がありません)/確かめるのに要る \1 がありません (make setup で入ります)/p' >&2
    exit 2
else
    echo "$said" | sed '$d; s/ノート:/期待:  /; s/本物:  /実際:  /'
    echo "練習問題 $name は、期待したとおりに動きません (打ったものは $build/exercise-$name.md にあります)"
    exit 1
fi
