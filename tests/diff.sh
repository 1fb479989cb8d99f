#!/bin/sh
# 前の章か、FROM の章から変わったところを見せる: diff.sh 章の番号 FROM すべての章...
set -u
number=$1
from=$2
shift 2
old='' new='' last=''
for chapter; do
    case $chapter in "$number"-*) new=$chapter; [ -n "$from" ] || old=$last ;; esac
    case $chapter in "$from"-*) old=$chapter ;; esac
    last=$chapter
done
if [ -z "$old" ] || [ -z "$new" ]; then
    name=diff$number prefix=diff
    if [ -n "$new" ] && [ -n "$from" ]; then name=FROM=$from prefix=FROM=; else shift; fi
    printf 'make: %s はありません。あるのは' "$name" >&2
    for chapter; do printf ' %s' "$prefix${chapter%%-*}" >&2; done
    echo ' です' >&2
    exit 2
fi
color=$(diff --color=auto /dev/null /dev/null 2>/dev/null && echo --color=auto)
diff -u ${color:+"$color"} --label "chapters/$old/server.cpp" --label "chapters/$new/server.cpp" \
    "chapters/$old/server.cpp" "chapters/$new/server.cpp"
# 違いがあると 1 で、head のような読み手が先に去ると SIGPIPE (141) で終わる。ほかを失敗とする。
status=$?
[ $status -le 1 ] || [ $status -eq 141 ]
