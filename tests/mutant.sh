#!/bin/sh
# わざと壊したサーバーを build/mutant/名前 に作る: mutant.sh 名前 "コンパイルのコマンド"
# 写しにパッチをあててコンパイルするので、もとのソースは変わらない。
set -eu

name=$1
compile=$2
patch=tests/mutants/$name.patch
copy=build/mutant/$name.src
rm -rf "$copy"
mkdir -p "$copy"
cp -R chapters common "$copy"
patch -s -d "$copy" -p1 <"$patch"
# どの章のサーバーをどう作るかは、パッチの頭の "Chapter:" と "Flags:" の行が言う。
chapter=$(sed -n 's/^Chapter: //p' "$patch")
flags=$(sed -n 's/^Flags: //p' "$patch")
# shellcheck disable=SC2086 # コマンドもフラグも、空白で区切った並び
(cd "$copy" && $compile $flags "chapters/$chapter/server.cpp" common/*.cpp -o "../$name")
