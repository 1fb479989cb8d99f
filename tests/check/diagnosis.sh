#!/bin/sh
# make check が、わざと壊したサーバーの名前を言い、tests/readers/ のサーバーに言うべきことを言うことを
# 確かめる: diagnosis.sh build "コンパイルのコマンド"。言うべきことは、パッチの頭と verdicts.txt にある。
# 練習問題の答えも、テストと、パッチの頭の端末の例で確かめる。
set -u

# 一つ確かめる: task の三行は、章、サーバー、言うべきこと。空なら、すべてに通る。
if [ "$1" = --one ]; then
    { read -r chapter; read -r server; read -r expected; } <"$3"
    said=${3%.task}.out
    TIME_LIMIT=600 CONNECTIONS=1000 SILENT=200 "$2/tests" --server="$server" --chapter="$chapter" --deadline=10 >"$said" 2>&1
    problem=
    if [ -z "$expected" ]; then
        grep -q ' passed, 0 failed' "$said" || problem='すべてに通るはず'
    else
        grep -q "$expected" "$said" || problem="「$expected」と言うはず"
        case $expected in サーバーは*) [ "$(grep -c '^診断: ' "$said")" = 1 ] || problem='診断は一つのはず' ;; esac
        # 読者には、日本語の文だけを見せる。読むところは、もう読んだ章だけから選ぶ。
        grep -v '^      | ' "$said" | grep -q -e '==' -e false -e true -e '::' -e ':=' -e '0x[0-9a-f][0-9a-f][0-9a-f]' &&
            problem='式や変数の名前が見えている'
        grep -A1 '^  × ' "$said" | grep -q '^    読むところ' && problem='わけを言っていない'
        sed -n 's|.*読むところ: docs/\(more/\)\{0,1\}\(..\).*|\2|p' "$said" | awk -v last="$chapter" '$1 > last { exit 1 }' ||
            problem='まだ読んでいない章を勧めている'
    fi
    [ -n "$problem" ] || exit 0
    echo "× 第$chapter章として $server: $problem"
    sed 's/^/    /' "$said"
    exit 1
fi

# 一つの練習問題の、答えと、もとの章と、答えを書き換えたまちがった答えを、端末の例で確かめる。
if [ "$1" = --example ]; then
    patch=$4
    name=$(basename "$patch" .patch)
    folder=$2/diagnosis/$name
    mkdir "$folder"
    said=$(sh tests/check/exercise.sh "$2" "$name" "$2/answer/$name" "$folder" 2>&1) ||
        printf '× %s の例は、答えでも成り立たない\n%s\n' "$name" "$said"
    sh tests/check/exercise.sh "$2" "$name" '' "$folder" | grep -q '期待したとおりに動きません' ||
        echo "× $name の例は、もとの章でも成り立つ"
    grep "^$name|" tests/answers/wrong.txt | while IFS='|' read -r _ edit mistake; do
        sed "$edit" "$patch" >"$folder/wrong.patch"
        ! cmp -s "$patch" "$folder/wrong.patch" || echo "× $name の答えを書き換えない: $edit"
        sh tests/check/patched.sh "$folder/wrong" "$folder/wrong.patch" "$3" "$2/obj" 2>&1
        sh tests/check/exercise.sh "$2" "$name" "$folder/wrong" "$folder" | grep -q '期待したとおりに動きません' ||
            echo "× $name の例は、まちがった答えでも成り立つ: $mistake"
    done
    exit
fi

build=$1
tasks=$build/diagnosis
rm -rf "$tasks"
mkdir -p "$tasks"
number=0
task() {
    number=$((number + 1))
    printf '%s\n' "$@" >"$tasks/$number.task"
}

arguments() {
    case $1 in
    07) echo '--idle-ms {idle-ms} --clients {clients}' ;;
    08 | 09 | 10 | 11) echo '--idle-ms {idle-ms} --clients {clients} --grace-ms {grace-ms}' ;;
    esac
}
for patch in $(grep -L '^Flags:' tests/mutants/*.patch); do
    name=$(basename "$patch" .patch)
    chapter=$(sed -n 's/^Chapter: \(..\).*/\1/p' "$patch")
    expected=
    ! grep -q '^Read: ' "$patch" || expected="サーバーは .*$name.* と同じ"
    task "$chapter" "$build/mutant/$name {port} $(arguments "$chapter")" "$expected"
    # 部品を壊すパッチは、Fails の行のはじめの章でも試す。
    grep -q '^+++ b/chapters' "$patch" || for other in $(sed -n 's/^Fails \(..\).*/\1/p' "$patch"); do
        [ "$other" = "$chapter" ] && continue
        sh tests/check/patched.sh "$tasks/$other-$name" "$patch" "$2" "$build/obj" "$other"
        task "$other" "$tasks/$other-$name {port} $(arguments "$other")" "$expected"
    done
done

# 章|サーバー|sed での書き換え|言うべきこと
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null) # 名前を解決するスクリプト (pyenv など) を、何度も通らない
while IFS='|' read -r chapter server edit expected; do
    case $chapter in '' | '#'*) continue ;; esac
    name=${server%% *}
    folder=$tasks/reader$((number + 1))
    mkdir -p "$folder"
    sed "$edit" "tests/readers/$name" >"$folder/$name"
    [ -z "$edit" ] || ! cmp -s "tests/readers/$name" "$folder/$name" || echo "× $name を書き換えない: $edit"
    case $name in
    *.py) tool=python3 run="$python $folder/$name" ;;
    *.go) tool=go run=$folder/server ;;
    *.java) tool=javac run="java -cp $folder $(basename "$name" .java)" ;;
    esac
    if ! command -v $tool >/dev/null && [ -z "${CI-}" ]; then # CI では、なければ失敗する
        echo "$tool がないので、$name を確かめません"
        continue
    fi
    case $tool in
    go) GO111MODULE=off go build -o "$run" "$folder/$name" ;;
    javac) javac -d "$folder" "$folder/$name" ;;
    esac
    task "$chapter" "$run ${server#* }" "$expected"
done <tests/readers/verdicts.txt

for patch in $(grep -L '^Suite: no' tests/answers/*.patch); do
    name=$(basename "$patch" .patch)
    chapter=$(sed -n 's/^Chapter: \(..\).*/\1/p' "$patch")
    task "$chapter" "$build/answer/$name {port} $(arguments "$chapter")" ''
done

# 端末の例は、答えでは成り立ち、もとの章では成り立たない。よく待つので並べるが、check_notes.py が自分だけの
# ネットワークを持てないところでは、ポートがぶつからないように一つずつ動かす。
examples=$(grep -l '^```console' tests/answers/*.patch)
number=$((number + $(echo "$examples" | wc -l) + $(grep -c '^[^#].*|' tests/answers/wrong.txt)))
echo "$examples" | xargs -P "$(unshare --net --pid --fork --mount-proc true 2>/dev/null && echo 2 || echo 1)" -n 1 sh "$0" --example "$build" "$2" >"$tasks/answers" &

ls "$tasks"/*.task | xargs -P 3 -n 1 sh "$0" --one "$build" >"$tasks/problems"
wait
cat "$tasks/answers" >>"$tasks/problems"
cat "$tasks/problems"
failed=$(grep -c '^× ' "$tasks/problems")
echo "$((number - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
