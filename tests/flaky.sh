#!/bin/sh
# コマンドを何度も走らせ、どのテストが何回失敗したかを数える: flaky.sh 回数 コマンド...
# 忙しい機械でも通ることを見たいので、そばで空回りを二つ動かす。
set -u
times=$1
shift
results=$(mktemp)
spin() { while :; do :; done; }
spin & first=$!
spin & second=$!
trap 'kill $first $second; rm -f "$results"' EXIT
trap 'exit 130' INT TERM HUP # Ctrl-C でも、上の後始末をする
failed=0
n=0
while [ $((n += 1)) -le "$times" ]; do
    if output=$("$@" 2>&1); then result=成功; else
        result=失敗 failed=$((failed + 1))
        printf '%s\n' "$output"
    fi
    # doctest は、誤りの前にテストの名前を書く。名前がなければ、テストの外で止まっている。
    [ $result = 成功 ] || printf '%s\n' "$output" | awk '
        /^TEST CASE: / { name = substr($0, 13) }
        / ERROR: / && name && !seen[name]++ { print name }
        END { if (!length(seen)) print "(テストの外) " $0 }' >>"$results"
    echo "$n 回目: $result"
done
sort "$results" | uniq -c | sort -rn
echo "$times 回のうち $failed 回失敗した"
[ "$failed" -eq 0 ]
