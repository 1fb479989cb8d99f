#!/bin/sh
# 章のサーバーの行を一つずつ消し、どのテストが気づくかを見る: why.sh build 章 "コンパイルのコマンド"
# 消すのはコピーの行なので、もとのソースは変わらない。どの行でも待つ時間が長いので、並べて走らせる。
set -u

build=$1
chapter=$2
source=$(echo chapters/"$2"-*/server.cpp)

if [ $# -eq 4 ]; then # 一行: 消して作り、はじめに落ちたテストの名前を書く
    copy=$build/why/$chapter/$4
    mkdir -p "$copy"
    sed "$4d" "$source" >"$copy/server.cpp"
    # shellcheck disable=SC2086 # コマンドも、空白で区切った並び
    if ! $3 "$copy/server.cpp" "$build"/obj/common/*.o -o "$copy/server" >"$copy/out" 2>&1; then
        echo 'コンパイラー' >"$copy/verdict"
        exit
    fi
    CONNECTIONS=1000 SILENT=200 "$build/tests" --build="$build" --program="$copy/server" --chapter="$chapter" \
        --deadline=10 -ts=server,protocol,fault -aa=1 >"$copy/out" 2>&1
    status=$?
    sed -n 's/^TEST CASE:  *//p' "$copy/out" | head -n 1 >"$copy/verdict"
    [ "$status" -eq 0 ] && echo '(なし)' >"$copy/verdict"
    exit
fi

[ -f "$source" ] || { echo "CHAPTER は 01, 02, 03 のどれかです: $chapter" >&2; exit 2; }
rm -rf "$build/why/$chapter"
lines=$(grep -nEv '^ *(//.*|[{}; )]*)$' "$source" | cut -d: -f1)
echo "$(echo "$lines" | wc -l) 行を、一つずつ消して試します。十分ほどかかります" >&2
echo "$lines" | xargs -P 8 -I LINE sh "$0" "$build" "$chapter" "$3" LINE
for line in $lines; do
    printf '%4d %-76s <- %s\n' "$line" "$(sed -n "${line}p" "$source")" "$(cat "$build/why/$chapter/$line/verdict")"
done
echo '何も気づかない行:'
for line in $lines; do
    grep -q '(なし)' "$build/why/$chapter/$line/verdict" && sed -n "${line}s/^/$line: /p" "$source"
done
exit 0
