#!/bin/sh
# 章のサーバーの行を一つずつ消し、どのテストが気づくかを見る:
#   why.sh build 章 "コンパイルのコマンド"
# 消すのはコピーの行なので、もとのソースは変わらない。待つ時間が長いので、並べて走らせる。
# shellcheck disable=SC2086 # コマンドとファイルは、空白で区切った並び
set -u

build=$1
chapter=$2
compile=$3
why=$build/why/$chapter
source=$(echo chapters/"$chapter"-*/server.cpp)
objects=$(echo common/*.cpp | sed "s|common/|$build/obj/&|g; s|\.cpp|.o|g")

# $1 のフォルダーの server.cpp を作る。行の番号などの、デバッグのための情報はつけない。
build_in() {
    $compile -g0 -c "$1/server.cpp" -o "$1/server.o" && $compile "$1/server.o" $objects -o "$1/server"
}

# "$@" を走らせ、終わらせた一つ目のテストの名前を書く。止まってしまうのも、気づかれたうちに入れる。
notice() {
    ! CONNECTIONS=1000 SILENT=200 timeout 300 "$@" >"$copy/out" 2>&1 || return
    sed -n 's/^TEST CASE:  *//p' "$copy/out" | grep -m 1 . || echo '(テストの外か、300 秒たっても終わらない)'
}

if [ $# -eq 4 ]; then # 一行だけ: 消して作り、だれが気づいたかを書く
    copy=$why/$4
    mkdir "$copy"
    sed "$4d" "$source" >"$copy/server.cpp"
    set -- "$build/tests" --program="$copy/server" --chapter="$chapter" --deadline=10 -ts='server,protocol*,fault' -aa=1
    if ! build_in "$copy" >"$copy/out" 2>&1; then
        echo 'コンパイラー'
    elif cmp -s "$copy/server.o" "$why/server.o"; then
        echo '(なし: できるプログラムは変わらない)'
    elif notice "$@" --build="$build"; then
        :
    elif grep -q '<thread>' "$source" && # スレッドが一つなら、競合もない
        $compile -fsanitize=thread "$copy/server.cpp" common/*.cpp -o "$copy/server" >"$copy/out" 2>&1 &&
        TSAN_OPTIONS=halt_on_error=1 notice "$@" --build="$build/thread" -tc='*二人目*,*50 人*'; then
        echo '  (SANITIZE=thread だけが気づく)'
    else
        echo '(なし)'
    fi >"$copy/verdict"
    exit
fi

[ -f "$source" ] || { echo "その章のサーバーはありません: $chapter" >&2; exit 2; }
rm -rf "$why"
mkdir -p "$why"
cp "$source" "$why"
build_in "$why" || exit
lines=$(grep -nEv '^ *(//.*|[{}; )]*)$' "$source" | cut -d: -f1)
echo "$(echo "$lines" | wc -l) 行を、一つずつ消して試します。数分かかります" >&2
echo "$lines" | xargs -P 4 -I LINE sh "$0" "$build" "$chapter" "$compile" LINE
for line in $lines; do
    printf '%4d %-76s <- %s\n' "$line" "$(sed -n "${line}p" "$source")" "$(tr -d '\n' <"$why/$line/verdict")"
done
echo '何も気づかない行:'
for line in $lines; do
    ! grep -q '^(なし' "$why/$line/verdict" || sed -n "${line}s/^/$line: /p" "$source"
done
