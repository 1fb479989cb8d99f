#!/bin/sh
# コマンドを何度も走らせ、どのテストが何回失敗したかを数える: flaky.sh 回数 コマンド...
# 忙しい機械でも通ることを見たいので、そばで空回りを二つ動かす。
set -u
times=$1
shift
output=$(mktemp)
names=$(mktemp)
yes >/dev/null & first=$!
yes >/dev/null & second=$!
trap 'kill $first $second; rm -f "$output" "$names"' EXIT
trap 'exit 130' INT TERM HUP # Ctrl-C でも、上の後始末をする
for n in $(seq "$times"); do
    "$@" >"$output" 2>&1 && echo "$n 回目: 成功" && continue
    cat "$output"
    echo "$n 回目: 失敗"
    sed -n 's/^TEST CASE:  *//p' "$output" | sort -u | grep . >>"$names" || echo '(テストの外)' >>"$names"
done
sort "$names" | uniq -c | sort -rn
[ ! -s "$names" ]
