#!/bin/sh
# 診断の表を作る: その章で、どの壊し方がどのテストに落ちるか。rules.mk が、三つを順に呼ぶ。
#   table.sh fits build 章 [章...]      章に当てはまる壊し方の、結果のファイルの名前
#   table.sh run build 結果 "コンパイルのコマンド"   壊したサーバーを作って make check のテストを走らせ、結果を書く
#   table.sh rows 結果...               表: 壊し方の名前、読むところ、落ちるテストの名前を、一行に一つ
set -eu

step=$1
shift
case $step in
fits)
    # その章を壊すパッチと、部品を壊すパッチのうち、その章の使う部品のもの。部品はどの章でも同じなので、
    # 三つ目からの引数があれば、部品を壊すパッチは、その章だけで試す。
    build=$1
    chapter=$2
    shift 2
    awk -v folder="$build/diagnosis/$chapter" -v chapter="$chapter" -v parts="${*:-$chapter}" '
        FILENAME == ARGV[1] { server = server $0; next }
        FNR == 1 { patches[++n] = FILENAME }
        /^Chapter: / { own[FILENAME] = index($2, chapter) == 1 }
        /^Part: / { unused[FILENAME] = !index(server, substr($0, 7)) }
        /^\+\+\+ b\/chapters/ { unused[FILENAME] = 1 }
        /^Flags:/ { unfit[FILENAME] = 1 } # サニタイザーをつけて作るもの
        END {
            for (i = 1; i <= n; i++) {
                patch = patches[i]
                if (!unfit[patch] && (own[patch] || !unused[patch] && index(parts, chapter))) {
                    sub(/.*\//, "", patch)
                    sub(/\.patch$/, "", patch)
                    print folder "/" patch ".out"
                }
            }
        }' chapters/"$chapter"-*/server.cpp tests/mutants/*.patch
    ;;
run)
    server=${2%.out}
    folder=${server%/*}
    chapter=${folder##*/}
    mkdir -p "$folder"
    sh tests/check/patched.sh "$server" "tests/mutants/${server##*/}.patch" "$3" "$1/obj" "$chapter"
    case $chapter in # 第7章からのサーバーに渡す数。make check のように、テストが置きかえる
    0[1-6]) numbers= ;;
    07) numbers='127.0.0.1 {idle-ms} {clients}' ;;
    *) numbers='127.0.0.1 {idle-ms} {clients} {grace-ms}' ;;
    esac
    CONNECTIONS=1000 SILENT=200 "$1/tests" --server="$server {port} $numbers" --chapter="$chapter" --deadline=10 \
        >"$2" 2>&1 || [ $? -eq 1 ]
    ;;
rows)
    for result; do
        name=$(basename "$result" .out)
        sed -n "s|^  × |$name	$(sed -n 's/^Read: //p' "tests/mutants/$name.patch")	|p" "$result"
    done
    ;;
esac
