#!/bin/sh
# わざと壊したサーバーを作る: mutant.sh 名前 "コンパイルのコマンド"
# 写しにパッチをあててコンパイルするので、もとのソースは変わらない。
set -eu

name=$1
compile=$2
patch=tests/mutants/$name.patch
if [ -z "$name" ] || [ ! -f "$patch" ]; then
    echo "make: 変異 \"$name\" はありません。あるのは次のとおりです" >&2
    ls tests/mutants | sed 's/\.patch$//; s/^/  make mutant NAME=/' >&2
    exit 2
fi
copy=build/mutant/$name.src
rm -rf "$copy"
mkdir -p "$copy"
cp -R chapters common "$copy"
patch -s -d "$copy" -p1 <"$patch"
# どの章のサーバーを作るかは、パッチの "Chapter: 02-fork" という行が言う。
chapter=$(sed -n 's/^Chapter: //p' "$patch")
(cd "$copy" && $compile "chapters/$chapter/server.cpp" common/*.cpp -o "../$name")
echo "動かし方: build/mutant/$name 7000      (止めるには Ctrl-C)"
