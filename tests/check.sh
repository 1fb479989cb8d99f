#!/bin/sh
# 読者のサーバーを確かめ、落ちたテストが、どの壊し方と重なるかを言う: check.sh build 章 [テストの引数]
# check.sh --explain 表 結果 は、表 (build/diagnosis/NN.tsv) と、テストの結果から、診断だけをする。
set -u

explain() {
    awk -F '\t' '
    # 結果の行: "  × テストの名前"。表の行: 壊し方、読むところ、落ちるテスト。
    FILENAME == ARGV[1] {
        if (/^  ×/) { left++ }
        if (sub(/^  × /, "")) { ran[$0]; failing[$0]; unexplained[$0] } else if (sub(/^  ○ /, "")) { ran[$0] }
        next
    }
    !($3 in ran) { next } # -tc= で選んで走らせたときは、走らせたものだけを比べる
    { read[$1] = $2; tests[$1] = tests[$1] "\t" $3 }
    !($3 in failing) { passes[$1] } # この壊し方なら落ちるはずのテストに、通っている
    END {
        # まだ説明のつかないテストを、いちばん多く説明する壊し方から名を挙げる。
        while (left > 0) {
            most = 0
            for (name in tests) {
                covered[name] = ""
                n = split(tests[name], list, "\t")
                for (count = 0; n > 1; n--) {
                    if (list[n] in unexplained) { count++; covered[name] = covered[name] "\t" list[n] }
                }
                if (!(name in passes) && count > most) { most = count; best = name }
            }
            if (most == 0) break
            same = covered[best]
            said = ""
            for (name in tests) {
                if (!(name in passes) && covered[name] == same) {
                    said = said (said == "" ? "" : " か ") name
                    where[name] = 1
                }
            }
            print "診断: あなたのサーバーは " said " と同じ壊れ方をしています"
            for (name in where) print "  → " read[name] "、make mutant NAME=" name " で作って比べられます"
            delete where
            n = split(same, list, "\t")
            for (; n > 1; n--) { print "      " list[n]; delete unexplained[list[n]]; left-- }
        }
        if (left > 0) print "診断: 次のテストは、どの壊し方にも当てはまりません"
        for (test in unexplained) print "      " test
    }' "$2" "$1"
}

if [ "$1" = --explain ]; then
    explain "$2" "$3"
    exit
fi
if [ -z "${SERVER-}" ]; then
    cat >&2 <<'END'
使い方: make check SERVER='./my-server {port}' CHAPTER=01
  SERVER   サーバーを起こすコマンド。{port} は、テストの選んだポートに置きかわります。
           リポジトリのいちばん上で sh -c に渡すので、'cd build && ./x {port}' とも書けます。
           127.0.0.1 の {port} で待ち受けてください。何を表示してもかまいません。
           止めるときは、待ち受けているプロセスに SIGTERM を送るか、Ctrl-C のように、すべての
           プロセスに SIGINT を送ります。クライアントが残っていても終わってください。
           07 からは、次の名前も数に置きかわります。書いたものだけを確かめます。
             {idle-ms}   黙っていてよい時間 (ミリ秒)。過ぎれば、その人を閉じてください
             {clients}   同時に相手をする人数の上限。あとの人には、だれかが去るまで返事をしません
             {grace-ms}  止めてから待つ時間の上限 (ミリ秒)。08 からです。待つ間は、受け付けをやめ、
                         読んだものを返してから、送る向きだけを閉じ、相手が閉じるのを待ちます
  CHAPTER  何と同じはたらきを求めるか。書かなければ 01 です。
           01 は一人ずつ。02 は一人に一つのプロセス。03 は一人に一つのスレッド (プロセスを増やさずに、
           同時に相手をできればよい)。04 は同時に 64 人まで (作っておいた 64 のスレッド)。05 からは
           何人でも、スレッドもプロセスも増やさずに。07 は時間と数の上限、08 からはきれいな止め方も。
終了ステータスは、すべて通れば 0、落ちたテストがあれば 1、確かめられなければ 2 です。
END
    exit 2
fi
build=$1
chapter=$2
shift 2
result=$build/check.out
{ "$build/tests" --server="$SERVER" --chapter="$chapter" --deadline=10 "$@"; echo $? >"$result.status"; } | tee "$result"
status=$(cat "$result.status")
if [ "$status" = 1 ] && grep -q '^  × ' "$result"; then
    # 書き換えた章から作っては、壊し方が、その書き換えと混ざる。
    edited=$(git diff --name-only HEAD -- chapters/"$chapter"-* common 2>/dev/null | tr '\n' ' ')
    if [ -n "$edited" ]; then
        echo "診断: ${edited}を書き換えたままなので、わざと壊したサーバーと比べません"
        echo '  比べるには、git stash で元に戻してから確かめる (また書き換えたものにするには git stash pop)'
        echo "  $build/chapter$chapter を確かめたのなら、その前に cp $build/chapter$chapter mine とし、SERVER に ./mine と書く"
        exit 1
    fi
    table=$build/diagnosis/$chapter.tsv
    [ "$table" -nt "$build/tests" ] || echo '診断: わざと壊したサーバーと比べます。はじめは二分ほどかかります'
    make -s -j4 "$table" >&2 && explain "$table" "$result"
fi
exit "$status"
