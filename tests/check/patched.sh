#!/bin/sh
# わざと壊したサーバーや、別の方式のサーバーや、練習問題の答えを作る:
#   patched.sh build/mutant/名前 tests/mutants/名前.patch "コンパイルのコマンド" build/obj [02]
# ソースのコピーにパッチをあててコンパイルするので、もとのソースは変わらない。
set -eu

target=$PWD/$1
patch=$2
compile=$3
objects=$PWD/$4
copy=$1.src
if ! command -v patch >/dev/null; then
    echo 'make: ソースを変えるのに要る patch がありません。make setup で入ります' >&2
    exit 2
fi
# パッチの頭の "Needs: ヘッダー マクロ 要るもの" を、コンパイラーが知らなければ作れない。
sed -n 's/^Needs: //p' "$patch" | while read -r header macro what; do
    # shellcheck disable=SC2086 # コマンドは、空白で区切った並び
    printf '#include <%s>\n#ifndef %s\n#error\n#endif\n' "$header" "$macro" |
        $compile -E -x c++ - >/dev/null 2>&1 && continue
    echo "make: $patch には、${what}が要ります" >&2
    exit 2
done || exit 2
copy_and_patch() {
    rm -rf "$target" "$copy"
    mkdir -p "$copy"
    "$@" 2>/dev/null | tar xf - -C "$copy" 2>/dev/null &&
        (cd "$copy" && patch -p1) <"$patch" >/dev/null 2>&1 # BusyBox のものに -s や -d はない
}
committed=false
case $patch in tests/answers/*) committed='git archive HEAD' ;; esac
# 答えを作る読者は、同じところを書き換えているので、できればコミットしてあるソースから作る。
# 書き換えたままのソースには、パッチがあたらないことがある。何を戻せばよいかを言う。
# shellcheck disable=SC2086 # コマンドは、空白で区切った並び
if ! copy_and_patch $committed chapters common && ! copy_and_patch tar cf - chapters common; then
    rm -rf "$copy"
    source=$(sed -n 's|^+++ b/||p' "$patch" | tr '\n' ' ')
    kind=$(basename "${patch%s/*}")
    {
        echo "make: ${source}が書き換えられているので、$patch をあてられません"
        echo "  変更を捨てて元に戻すには: git checkout $source(git がなければ、もとの zip から取り出して make clean)"
        echo "  戻したら、サーバーも作りなおす: make all $kind NAME=$(basename "$patch" .patch)"
    } >&2
    exit 2
fi
# どの章のサーバーをどう作るかは、パッチの頭の "Chapter:" と "Flags:" の行が言う。部品だけを変える
# パッチなら、どの章のサーバーも作れる (五つ目の引数)。
chapter=$(sed -n 's/^Chapter: //p' "$patch")
[ $# -lt 5 ] || chapter=$(basename chapters/"$5"-*)
flags=$(sed -n 's/^Flags: //p' "$patch")
# common/ の部品のうち、パッチの変えなかったものは、もう作ってあるものを使う。ヘッダーが変われば、使えない。
changed=$flags
for header in common/*.h; do
    cmp -s "$header" "$copy/$header" || changed=$header
done
set -- "chapters/$chapter/server.cpp"
for source in common/*.cpp; do
    if [ -z "$changed" ] && cmp -s "$source" "$copy/$source"; then
        set -- "$@" "$objects/${source%.cpp}.o"
    else
        set -- "$@" "$source"
    fi
done
# shellcheck disable=SC2086 # コマンドとフラグは、空白で区切った並び
(cd "$copy" && $compile $flags "$@" -o "$target")
