#!/bin/sh
# わざと壊したサーバーを作る: mutant.sh build/mutant/名前 "コンパイルのコマンド" build/obj [02]
# ソースのコピーにパッチをあててコンパイルするので、もとのソースは変わらない。
set -eu

target=$PWD/$1
compile=$2
objects=$PWD/$3
name=${1##*/}
patch=tests/mutants/$name.patch
copy=$1.src
rm -rf "$copy"
mkdir -p "$copy"
cp -R chapters common "$copy"
if ! command -v patch >/dev/null; then
    echo 'make: わざと壊すのに要る patch がありません。make setup で入ります' >&2
    exit 2
fi
# 読者がソースを書き換えたままだと、パッチがあたらないことがある。何を戻せばよいかを言う。
if ! patch -s -d "$copy" -p1 <"$patch" >/dev/null 2>&1; then
    rm -rf "$copy"
    source=$(sed -n 's|^+++ b/||p' "$patch" | tr '\n' ' ')
    {
        echo "make: ${source}が書き換えられているので、$name を作れません"
        echo "  変更を捨てて元に戻すには: git checkout $source(git がなければ、もとの zip から取り出して make clean)"
        echo "  戻したら、サーバーも作りなおす: make all mutant NAME=$name"
    } >&2
    exit 2
fi
# どの章のサーバーをどう作るかは、パッチの頭の "Chapter:" と "Flags:" の行が言う。部品だけを変える
# パッチなら、どの章のサーバーも作れる (四つ目の引数)。
chapter=$(sed -n 's/^Chapter: //p' "$patch")
[ $# -lt 4 ] || chapter=$(basename chapters/"$4"-*)
flags=$(sed -n 's/^Flags: //p' "$patch")
# common/ の部品のうち、パッチの変えなかったものは、もう作ってあるものを使う。
set -- "chapters/$chapter/server.cpp"
for source in common/*.cpp; do
    if [ -z "$flags" ] && cmp -s "$source" "$copy/$source"; then
        set -- "$@" "$objects/${source%.cpp}.o"
    else
        set -- "$@" "$source"
    fi
done
# shellcheck disable=SC2086 # コマンドとフラグは、空白で区切った並び
(cd "$copy" && $compile $flags "$@" -o "$target")
