#!/bin/sh
# 前の章から変わったところを見せる: diff.sh 章の番号 すべての章...
set -u
number=$1
shift
previous=
for chapter; do
    case $chapter in "$number"-*) break ;; esac
    previous=$chapter
    chapter=
done
if [ -z "$previous" ] || [ -z "$chapter" ]; then
    shift
    printf 'make: diff%s はありません。あるのは' "$number" >&2
    for chapter; do printf ' diff%s' "${chapter%%-*}" >&2; done
    echo ' です' >&2
    exit 2
fi
color=$(diff --color=auto /dev/null /dev/null 2>/dev/null && echo --color=auto)
# diff は違いがあると 1 で終わるので、2 以上だけを失敗とする。
diff -u ${color:+"$color"} --label "chapters/$previous/server.cpp" --label "chapters/$chapter/server.cpp" \
    "chapters/$previous/server.cpp" "chapters/$chapter/server.cpp" || [ $? -eq 1 ]
