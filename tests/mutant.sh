#!/bin/sh
# わざと壊したサーバーを作る: mutant.sh build/mutant/名前 "コンパイルのコマンド" build/obj
# ソースのコピーにパッチをあててコンパイルするので、もとのソースは変わらない。
set -eu

target=$PWD/$1
compile=$2
objects=$PWD/$3
patch=tests/mutants/${1##*/}.patch
copy=$1.src
rm -rf "$copy"
mkdir -p "$copy"
cp -R chapters common "$copy"
patch -s -d "$copy" -p1 <"$patch"
# どの章のサーバーをどう作るかは、パッチの頭の "Chapter:" と "Flags:" の行が言う。
chapter=$(sed -n 's/^Chapter: //p' "$patch")
flags=$(sed -n 's/^Flags: //p' "$patch")
# パッチの変えなかった部品は、もう作ってあるものを使う。
inputs=chapters/$chapter/server.cpp
for source in common/*.cpp; do
    if [ -z "$flags" ] && cmp -s "$source" "$copy/$source"; then
        inputs="$inputs $objects/${source%.cpp}.o"
    else
        inputs="$inputs $source"
    fi
done
# shellcheck disable=SC2086 # コマンドもフラグも入力も、空白で区切った並び
(cd "$copy" && $compile $flags $inputs -o "$target")
