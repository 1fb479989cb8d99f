#!/usr/bin/env python3
"""ノート (README.md と docs/*.md) が、書いてあるとおりかどうかを確かめる。

引用、リンク、名前は読むだけで確かめ、端末の例は本物の端末で動かして、出力を比べる。
ノートの書き方は docs/writing-notes.md にある。Python 3.9 以降のほかには何も要らない。
"""

import argparse
import codecs
import contextlib
import ctypes
import fcntl
import functools
import glob
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections import Counter
from urllib.parse import unquote

# 実行のたびに変わる値。丸かっこの中が値。時間はどう変わってもよい。ほかの値は、ノートの値と
# 本物の値を一対一に対応させる: ノートで同じ PID は本物でも同じで、違う PID は本物でも違う。
TOKENS = [
    ('ポート', r'(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):(\d{5})(?!\d)'),
    ('ポート', r'htons\((\d{5})\)'),
    ('番号', r'(?<![A-Za-z])(?:pid|tid|child)[ =]+(\d+)(?![\dx])'),
    ('時間', r'si_(?:uid|utime|stime)=(\d+)'),
    ('番号', r'parent_tid=\[(\d+)\]'),  # strace の clone3
    ('番号', r'FUTEX_\w+, (\d+), NULL'),
    ('番号', r'(?:WNOHANG, NULL|\}, 88)\) = (\d{2,})$'),  # strace の fork() = 4022
    ('番号', r'^(\d+) +(?=\w+\(|<\.\.\.|---|\+\+\+)'),  # strace -o の行の初めの PID
    ('アドレス', r'(0x[0-9a-f]{6,})'),
]
FIRST_EPHEMERAL_PORT = 32768  # これより小さいポートは、自分で決めたもの
# 表を出すコマンド (数えた行数は、表ではない)。空白の数は問わず、2 桁以上の整数はすべて番号とみなす。
TABLE_COMMANDS = {'ps', 'ss'}
TABLE_TOKENS = [*TOKENS, ('番号', r'(?<![\w.:])(\d{2,})(?=(?: \d+)* [A-Za-z])')]
# なくてもよい道具。入っていなければ、その節の残りを省く。
OPTIONAL_TOOLS = {'strace', 'nc', 'ps', 'ss', 'faketime', 'haproxy', 'systemd-socket-activate'}
KEYS = {'^C': '\x03', '^D': '\x04'}
DOTS = {'...', '…'}  # 何行でもよい、という印
# ジョブが終わったという bash の知らせ。いつ出るかわからないので、ノートにあってもなくてもよい。
JOB_NOTICE = re.compile(r'\[\d+\][+-]? +(?:Done|Exit|Killed|Terminated|Interrupt|Hangup)\b')
SETTINGS = ('CXX', 'CXXFLAGS', 'LDFLAGS', 'WERROR')  # 端末の中の make にも伝える。違えば、すべてを作りなおすことになる
TIMEOUT = 30.0  # 秒。何も起こらないまま、これだけ待ったらあきらめる

failures = 0
counts = Counter()


def fail(place, message, expected=None, actual=None):
    global failures
    failures += 1
    print(f'{place}: {message}')
    if expected is not None or actual is not None:
        print(f'    ノート: {"(なし)" if expected is None else expected}')
        print(f'    本物:   {"(なし)" if actual is None else actual}')


@functools.lru_cache(None)
def make(*arguments):
    """make の出力。失敗すれば None。"""
    # make から呼ばれたときも、作る場所を変える設定 (SANITIZE など) は受け継がせない。
    environment = {name: os.environ[name] for name in ('PATH', 'HOME', *SETTINGS) if name in os.environ}
    result = subprocess.run(['make', *arguments], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8')
    return result.stdout if result.returncode == 0 else None


# ---- ノートを読む

class Question:
    """端末の例を動かす前に、その結果を予想させる問い。"""

    FORM = re.compile(r'<!-- 予想: (.+?) \| (?:行数|(はい )?/(.+)/) -->')

    def __init__(self, place, line):
        form = self.FORM.fullmatch(line)
        if not form:
            raise re.error('「問い | 行数」のように書きます')
        self.place, self.text, self.yes = place, form[1], form[2]
        self.pattern = form[3] and re.compile(form[3])
        if self.pattern and not self.yes and self.pattern.groups != 1:
            raise re.error('答えを囲むかっこは一つです')

    def answer(self, output):
        """出力から分かる答え。分からなければ None。"""
        if not self.pattern:
            return None if DOTS & set(output) else str(len(output))
        found = next(filter(None, map(self.pattern.search, output)), None)
        return ('はい' if found else 'いいえ') if self.yes else found and found[1]

    def accepts(self, text, answer):
        """読み手の打った text が、答えに当たるかどうか。全角と半角、大文字と小文字、空白は問わない。"""
        text, answer = (''.join(unicodedata.normalize('NFKC', each).casefold().split()) for each in (text, answer))
        if self.yes:
            text = {'y': 'はい', 'yes': 'はい', 'n': 'いいえ', 'no': 'いいえ'}.get(text, text)
        elif answer.isdigit():
            text = re.sub(r'[^\d]*(\d+)[^\d]*', r'\1', text)  # 「3 行」でもよい
        return text == answer


class Block:
    """``` で囲まれた一つのブロック。"""

    def __init__(self, note, start, fence, label):
        self.note, self.start = note, start  # start は ``` の行番号
        self.indent, self.fence, self.language = fence.groups()
        self.title, self.word = label.groups(default='') if label else ('', '')
        self.lines = []
        self.question = None

    def place(self, offset=0):
        return f'{self.note.path}:{self.start + offset}'

    def replay(self):
        return self.language == 'console' and self.word != '参考'

    def output(self):
        return [line for step in steps_of(self) for _, line in step.shown]


class Note:
    FENCE = re.compile(r'( *)(`{3,}|~{3,}) *([^`]*)$')
    LABEL = re.compile(r' *\*\*([^*]+)\*\*(?: \((.+)\))?')  # ブロックの前の行に書く、ブロックの名前

    def __init__(self, path):
        self.path = path
        with open(path, encoding='utf-8') as file:
            self.lines = file.read().split('\n')
        self.prose = []                 # ブロックの外の (行番号, 行)
        self.blocks = []
        self.sections = [('はじめ', [])]  # 「## 」か「### 」で始まる節の (題, ブロック)
        self.questions = []
        self.anchors = set()
        self.edits = []                 # 書き換える (ブロック, 新しい行)
        slugs, block, label, question = Counter(), None, None, None
        for number, line in enumerate(self.lines, 1):
            if block and re.fullmatch(f' *{block.fence[0]}{{{len(block.fence)},}} *', line):
                block = None
            elif block:
                block.lines.append(line[len(block.indent):].rstrip())
            elif self.FENCE.match(line):
                block, label = Block(self, number, self.FENCE.match(line), label), None
                block.question, question = question, None
                if block.fence == '```':  # もっと長いものは書き方の見本なので、読まない
                    self.blocks.append(block)
                    self.sections[-1][1].append(block)
            else:
                if label and line:
                    fail(f'{path}:{number}', 'ブロックの名前のあとに、ブロックがありません', label[0])
                label = self.LABEL.fullmatch(line) or (None if line else label)
                question = question if label or not line else None
                if line.lstrip().startswith('<!-- 予想'):
                    try:
                        question = Question(f'{path}:{number}', line.strip())
                        self.questions.append(question)
                    except re.error as error:
                        fail(f'{path}:{number}', f'予想の問いの書き方が違います: {error}', line)
                self.prose.append((number, line))
                self.anchors.update(re.findall(r'<\w+ [^>]*\b(?:id|name)="([^"]+)"', line))
                heading = re.match(r'(#+) +(.*)', line)
                if heading:
                    name = slug(heading[2])
                    self.anchors.add(f'{name}-{slugs[name]}' if slugs[name] else name)
                    slugs[name] += 1
                if heading and heading[1] in ('##', '###'):
                    self.sections.append((heading[2], []))
        if block:
            fail(block.place(), '``` が閉じていません')

    def save(self):
        for block, lines in sorted(self.edits, key=lambda edit: -edit[0].start):
            if lines != block.lines:
                self.lines[block.start:block.start + len(block.lines)] = [block.indent + line for line in lines]
                print(f'{block.place()}: 書き換えました')
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(self.lines))


def slug(heading):
    """GitHub が見出しにつける名前。"""
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)|<[^>]+>', r'\1', heading)
    return re.sub(r'[^\w\- ]', '', text.strip().lower()).replace(' ', '-')


# ---- 引用: コードと差分

@functools.lru_cache(None)
def source(title):
    """引用されるファイルか、make diffNN の出力の、すべての行。なければ None。"""
    if re.fullmatch(r'make diff\w+', title):
        text = make('-s', title[5:])
    elif os.path.isfile(title):
        with open(title, encoding='utf-8') as file:
            text = file.read()
    else:
        text = None
    return text and [line.rstrip() for line in text.rstrip('\n').split('\n')]


def find(part, whole, start=0):
    places = range(start, len(whole) - len(part) + 1)
    return next((at for at in places if part and whole[at:at + len(part)] == part), -1)


def check_quotes(note, update):
    chapter = re.match(r'docs/((\d\d)-[\w-]+)', note.path)
    # 章のノートは、この差分のすべての行を順に引用する。付録は違う。
    own = chapter and os.path.isdir(f'chapters/{chapter[1]}') and f'make diff{chapter[2]}'
    difference = own and source(own) or []
    changes = {at for at, line in enumerate(difference) if at >= 2 and line[:1] in ('+', '-')}
    rest, position, last = set(changes), 0, f'{note.path}:1'
    for block in note.blocks:
        if block.language == 'console' or not block.title:
            continue
        counts['引用'] += 1
        whole = source(block.title)
        if whole is None:
            fail(block.place(), f'引用する {block.title} がありません')
            continue
        at = find(block.lines, whole, position if block.title == own else 0)
        if at == -1:
            at = find(block.lines, whole)
        if at == -1 and not (update and cut_again(block, whole)):
            report_difference(block, whole)
        if at == -1 or block.title != own:
            continue
        quoted = changes & set(range(at, at + len(block.lines)))
        if at < position and quoted & rest:
            fail(block.place(), f'{own} の順番と違います', block.lines[0])
        rest -= quoted
        position, last = max(quoted | {position}), block.place()
    if rest:
        fail(last, f'{own} に、引用されていない行があります', None, difference[min(rest)])


def cut_again(block, whole):
    """引用の最初と最後の行が今も見つかれば、その間を引用しなおす。"""
    first, last = block.lines[:1], block.lines[-1:]
    starts = [at for at, line in enumerate(whole) if [line] == first]
    ends = [at for at, line in enumerate(whole) if [line] == last and at >= starts[0]] if starts else []
    if len(starts) != 1 or not ends or len(ends) > 1 and last[0] not in ('}', '};'):
        return False
    block.note.edits.append((block, whole[starts[0]:ends[0] + 1]))
    return True


def report_difference(block, whole):
    """いちばん似ているところと見比べて、最初に違う行を報告する。"""
    def same(at):
        return [a == b for a, b in zip(block.lines, whole[at:])] + [False]
    at = max(range(len(whole)), key=lambda at: (same(at).index(False), sum(same(at))))
    first = same(at).index(False)
    quoted, real = block.lines[first:first + 1], whole[at + first:at + first + 1]
    fail(block.place(1 + first), f'{block.title} と違います', *(quoted or [None]), *(real or [None]))


# ---- リンクと名前

INLINE_CODE = re.compile(r'(`+)(.+?)\1(?!`)')


@functools.lru_cache(None)
def anchors_of(path):
    return Note(path).anchors


def check_links(note):
    for number, line in note.prose:
        line = INLINE_CODE.sub('', line)
        targets = re.findall(r'\]\(<?([^)\s>]+)|(?:src|href|srcset)="([^"]+)"|^\[[^\]]+\]: +(\S+)', line)
        for target in map(''.join, targets):
            if re.match(r'[a-zA-Z][\w+.-]*:', target):
                continue
            counts['リンク'] += 1
            path, _, anchor = unquote(target).partition('#')
            path = os.path.normpath(os.path.join(os.path.dirname(note.path), path)) if path else note.path
            if not os.path.exists(path):
                fail(f'{note.path}:{number}', f'リンク先がありません: {target}')
            elif anchor and path.endswith('.md') and anchor not in anchors_of(path):
                fail(f'{note.path}:{number}', f'リンク先に、その見出しがありません: {target}')


def check_make(place, command):
    """コマンドの中の make の、目標と NAME= を確かめる。引用符の中の引数は見ない。"""
    command = re.sub(r"'[^']*'", '', command)
    for words in re.findall(r'(?:^|[;&|] *|time )make((?: +[^\s;&|]+)+)', command):
        kind = 'variant' if 'variant' in words.split() else 'mutant'
        for word in words.split():
            name = re.fullmatch(r'NAME=([a-z0-9-]+)', word)
            if name:
                check_name(place, f'tests/{kind}s/{name[1]}.patch')
            elif re.fullmatch(r'\w[\w./-]*', word):
                check_name(place, f'make {word}')


def check_name(place, name):
    """make の目標か、ファイルか、作るプログラムの名前が、本当にあること。NN は章の番号の代わり。"""
    counts['名前'] += 1
    built = re.fullmatch(r'build/(?:([a-z]+)/)?[\w-]+', re.sub('^make chapter', 'build/chapter', name))
    patched = re.fullmatch(r'build/(mutant|variant)/([\w-]+)', name)
    if 'NN' in name:
        known = name in ('make chapterNN', 'make diffNN', 'build/chapterNN') or glob.glob(name.replace('NN', '*'))
    elif patched:
        known = os.path.isfile(f'tests/{patched[1]}s/{patched[2]}.patch')
    elif built and name != 'build/obj':  # chapter% の規則はない章にも当てはまるので、リンクするかどうかを見る
        known = f'-o {built[0]}' in (make('-nB', built[0], f'SANITIZE={built[1] or ""}') or '')
    elif name.startswith('make diff'):
        known = source(name)
    elif name.startswith('make '):
        known = make('-n', name[5:]) is not None
    else:
        known = name.startswith('build/') or glob.glob(name)
    if not known:
        fail(place, f'ありません: {name}')


def check_names(note):
    for number, line in note.prose:
        for _, code in INLINE_CODE.findall(line):
            check_make(f'{note.path}:{number}', code.strip())
            for name in re.findall(r'(?<![\w./-])(?:chapters|common|tests|docs|build)/[\w./*?-]*[\w*?/]', code):
                check_name(f'{note.path}:{number}', name)
    for block in note.blocks:
        for offset, line in enumerate(block.lines, 1):
            if block.language == 'sh' or not block.replay() and line.startswith('$ '):
                check_make(block.place(offset), line.removeprefix('$ ').partition('#')[0])


def check_questions(note):
    asked = {block.question: block for block in note.blocks if block.replay()}
    for question in note.questions:
        counts['予想の問い'] += 1
        if question not in asked:
            fail(question.place, '予想の問いのすぐあとに、動かす端末の例がありません')
        elif question.answer(asked[question].output()) is None:
            fail(question.place, '予想の問いの答えが、ノートの出力から分かりません')


# ---- 行を形で比べる

@functools.lru_cache(None)
def shape(line, table):
    """行を、形と、実行のたびに変わる値の並びとに分ける。"""
    tokens = TABLE_TOKENS if table else TOKENS
    values = []

    def take(match):
        kind, value = tokens[match.lastindex - 1][0], match[match.lastindex]
        if kind == 'ポート' and int(value) < FIRST_EPHEMERAL_PORT:
            return match[0]
        if kind != '時間':
            values.append((kind, value))
        before, after = match[0].rsplit(value, 1)
        return re.sub(' +', ' ', f'{before}<{kind}>{after}')

    line = ' '.join(line.split()) if table else line.expandtabs().rstrip()
    line = re.sub(r'\) += ', ') = ', line)  # strace は = の位置をそろえる
    return re.sub('|'.join(pattern for _, pattern in tokens), take, line), values


def match(pairs, expected, actual, table):
    """二つの行が合えば、値の対応 pairs に、わかったことを加えて返す。合わなければ None。"""
    (expected, noted), (actual, real) = shape(expected, table), shape(actual, table)
    pairs = dict(pairs)
    if expected != actual or any(pairs.setdefault(a, b) != b for a, b in zip(noted, real)):
        return None
    return pairs if len(set(pairs.values())) == len(pairs) else None


def match_in_any_order(pairs, expected, actual, table):
    """順番を問わずに、すべての行を一つずつ合わせる。"""
    if not expected:
        return pairs
    choices = [[at for at, line in enumerate(actual) if match(pairs, wanted, line, table) is not None]
               for wanted in expected]
    first = min(range(len(expected)), key=lambda at: len(choices[at]))  # 迷いの少ないものから決める
    for at in choices[first]:
        found = match_in_any_order(match(pairs, expected[first], actual[at], table),
                                   expected[:first] + expected[first + 1:], actual[:at] + actual[at + 1:], table)
        if found is not None:
            return found
    return None


# ---- 端末

class Terminal:
    """一つの端末と、その中で動く bash。"""

    def __init__(self):
        mark = os.urandom(8).hex()
        self.prompt, self.start = f'<{mark}>', f'<{mark}-start>'
        self.running = True              # まだプロンプトが出ていない
        self.started = False             # 打ったコマンドを bash が受け取った
        self.interrupted = False         # ^C を打ったところ
        self.skipping = False            # ノートの ... に当たる行を読んでいるところ
        self.table = False               # 表を出すコマンドが動いている
        self.lines, self.rest = [], ''   # 届いて、まだ比べていない行と、行になっていない続き
        self.decoder = codecs.getincrementaldecoder('utf-8')('replace')
        environment = {name: os.environ[name] for name in ('PATH', 'HOME', 'USER', *SETTINGS) if name in os.environ}
        environment.update(TERM='dumb', LANG='C.UTF-8', LC_ALL='C.UTF-8', HISTFILE='',
                           PS0=self.start + '\n', PS1=self.prompt, PS2='')
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)  # Python や nohup が無視していても、受け継がせない
            modes = termios.tcgetattr(0)
            modes[3] = modes[3] & ~termios.ECHO | termios.NOFLSH  # ^C で、届いた出力を捨てさせない
            termios.tcsetattr(0, termios.TCSANOW, modes)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('4H', 50, 200, 0, 0))
            os.closerange(3, 1024)  # 番号が、読み手の端末と同じになるように
            os.execvpe('bash', ['bash', '--norc', '--noprofile', '--noediting', '-i'], environment)

    def read(self):
        try:
            text = self.rest + self.decoder.decode(os.read(self.fd, 65536)).replace('\r', '')
        except OSError:  # bash が終わった
            self.close()
            return
        *pieces, self.rest = re.split(f'(\n|{self.prompt})', text)
        for line, end in zip(pieces[::2], pieces[1::2]):
            line = re.sub(r'\x1b\[[0-9;?]*[ -/]*[@-~]', '', line)  # 色
            if line == self.start:
                self.started = True
            elif line == '' and self.interrupted:
                self.interrupted = False  # 読み手の画面では、^C という表示のあとの改行
            elif (line or end == '\n') and not JOB_NOTICE.match(line):
                self.lines.append(line)
            if end == self.prompt:
                self.running = self.interrupted = False

    def take(self, count):
        taken, self.lines = self.lines[:count], self.lines[count:]
        return taken

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
        self.fd, self.running = None, False


def processes():
    """端末で始まって、まだ生きているプロセス: セッションの番号 (端末の bash の PID) の辞書。"""
    parents, sessions = {}, {}
    for path in glob.glob('/proc/[0-9]*/stat'):
        with contextlib.suppress(OSError):  # ちょうど終わったものは読めない
            with open(path, errors='replace') as file:
                state, parent, _, session, *others = file.read().rpartition(')')[2].split()
            pid = int(path.split('/')[2])
            parents[pid] = int(parent)
            if state != 'Z' or int(others[13]) > 1:  # スレッドが残っていれば、まだ終わっていない
                sessions[pid] = int(session)
    found, children = set(), {os.getpid()}
    while children:
        children = {pid for pid in parents if parents[pid] in children}
        found |= children
    return {pid: sessions[pid] for pid in found & set(sessions)}


def snapshot():
    """すべてのスレッドの様子。CPU を得た回数も入っている。動いているスレッドがあれば None。"""
    threads = {}
    for pid in processes():
        for path in glob.glob(f'/proc/{pid}/task/*/status'):
            with contextlib.suppress(OSError), open(path, errors='replace') as file:
                threads[path] = file.read()
    return None if re.search(r'^State:\s+[RD]', '\n'.join(threads.values()), re.M) else threads


def reap():
    """終わったプロセスを回収する。親を失ったものも、main の prctl によって、ここに来る。"""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


# ---- 端末の例を動かす

class Different(Exception):
    """端末の例が本物と違う。引数は、ブロックの中の行番号と、fail に渡すもの。"""


class MissingTool(Exception):
    """道具が入っていない。引数は、ブロックの中の行番号と、道具の名前。"""


class Step:
    """読み手が打つもの (コマンド、行、キー) と、そのあとに見えるはずの出力。"""

    def __init__(self, offset, text):
        self.offset, self.text = offset, text  # text が空なら、前のブロックからの出力の続き
        self.command = text.startswith('$ ')
        self.shown = []                        # (ブロックの中の行番号, 行)


def steps_of(block):
    steps = [Step(1, '')]
    for offset, line in enumerate(block.lines, 1):
        if steps[-1].command and steps[-1].text.endswith('\\') and not steps[-1].shown:
            steps[-1].text += '\n' + line
        elif line.startswith('$ ') or line.endswith('⏎') or line in KEYS:
            steps.append(Step(offset, line))
        elif not JOB_NOTICE.match(line):
            steps[-1].shown.append((offset, line))
    return steps if steps[0].shown else steps[1:]


def missing_tool(command):
    words = re.findall(r'(?:^\$|[|;&(]|\b(?:sudo|time|exec)) *(?:\w+=\S* +)*(?=([\w.-]+))', command)
    return next((word for word in words if word in OPTIONAL_TOOLS and not shutil.which(word)), None)


class Replay:
    """一つの節を動かす。recording なら、比べずに本物の出力を書きとる。"""

    def __init__(self, recording=False):
        self.recording = recording
        self.terminals, self.pairs = {}, {}
        self.block = None
        self.recorded = []  # (ブロック, 本物の行)

    def run(self, blocks):
        try:
            for self.block in blocks:
                self.recorded.append((self.block, self.run_block(self.block)))
            self.interrupt_all()
        finally:
            self.end()

    def run_block(self, block):
        name = block.title or '端末A'
        if name not in self.terminals:
            self.terminals[name] = Terminal()
        terminal, steps, real, self.output_lines = self.terminals[name], steps_of(block), [], []
        for step, following in zip(steps, steps[1:] + [None]):
            if step.text:
                real += self.enter(terminal, step).split('\n')
            lines = self.output(terminal, step, must_end=following is not None and following.command)
            real += lines
            self.output_lines += lines
        self.settle()
        if not terminal.running:
            self.no_more(terminal, len(block.lines), '後')
        if block.question and not self.recording:
            noted, found = map(block.question.answer, (block.output(), self.output_lines))
            if noted != found:
                fail(block.question.place, '予想の問いの答えが、動かすたびに変わります', noted, found)
        return real

    def enter(self, terminal, step):
        """コマンドか行かキーを打つ。打ったものを返す。"""
        if step.command and not self.wait(terminal, lambda: not terminal.running):
            raise Different(step.offset, '待っても、前のコマンドが終わりません', step.text)
        self.settle()
        self.no_more(terminal, step.offset, '前')
        if terminal.fd is None or not step.command and not terminal.running:
            raise Different(step.offset, '打つ相手が、もう終わっています', step.text)
        if not step.command:
            terminal.interrupted = step.text == '^C'
            os.write(terminal.fd, (KEYS.get(step.text) or step.text[:-1].rstrip() + '\n').encode())
            return step.text
        if missing_tool(step.text):
            raise MissingTool(step.offset, missing_tool(step.text))
        # 前に出た PID やポートは、本物に置き換えて打つ。
        known = {noted: real for (kind, noted), (_, real) in self.pairs.items() if kind in ('番号', 'ポート')}
        text = re.sub(r'(?<![\w.])\d{2,}(?![\w.])', lambda number: known.get(number[0], number[0]), step.text)
        terminal.table = bool(TABLE_COMMANDS & set(text.split()[1:2])) and not text.endswith('| wc -l')
        terminal.running, terminal.started = True, False
        os.write(terminal.fd, text[2:].encode() + b'\n')
        if not self.wait(terminal, lambda: terminal.started or not terminal.running):
            raise Different(step.offset, 'コマンドが始まりません。かっこや引用符は閉じていますか', step.text)
        return text

    def output(self, terminal, step, must_end):
        """見えるはずの出力を待って比べ、本物の行を返す (... はそのまま)。"""
        shown = [line for _, line in step.shown]
        if self.recording and not DOTS & set(shown):
            self.wait(terminal, lambda: len(terminal.lines) >= len(shown) and not (must_end and terminal.running))
            self.settle()
            real = terminal.take(len(shown) if terminal.running else len(terminal.lines))
            for noted, line in zip(shown, real):
                self.pairs = match(self.pairs, noted, line, terminal.table) or self.pairs
            return real
        if self.block.word == '順不同':
            self.wait(terminal, lambda: len(terminal.lines) >= len(shown))
            real = terminal.take(len(shown))
            pairs = match_in_any_order(self.pairs, shown, real, terminal.table) if len(real) == len(shown) else None
            if pairs is None:
                raise Different(step.offset, '順不同の出力が違います', *('\n            '.join(x) for x in (shown, real)))
            self.pairs = pairs
            return real
        return [self.one_line(terminal, offset, line) for offset, line in step.shown]

    def one_line(self, terminal, offset, line):
        if line in DOTS:
            terminal.skipping = True
            return line
        while True:
            if not self.wait(terminal, lambda: terminal.lines):
                raise Different(offset, '待っても、この行が出ません', line, terminal.rest or None)
            actual, = terminal.take(1)
            pairs = match(self.pairs, line, actual, terminal.table)
            if pairs is not None:
                self.pairs, terminal.skipping = pairs, False
                return actual
            if not terminal.skipping:
                same = shape(line, terminal.table)[0] == shape(actual, terminal.table)[0]
                raise Different(offset, '番号の対応が違います' if same else '出力が違います', line, actual)

    def no_more(self, terminal, offset, side):
        """ノートにない行が届いていないこと。"""
        if terminal.lines and not terminal.skipping and not self.recording:
            raise Different(offset, f'この行の{side}に、ノートにない出力があります', None, terminal.lines[0])
        terminal.lines, terminal.skipping = [], False

    def drain(self, seconds=0.0):
        """すべての端末の、届いた出力を読む。届いていれば真。"""
        reap()
        terminals = {terminal.fd: terminal for terminal in self.terminals.values() if terminal.fd is not None}
        ready = select.select(list(terminals), [], [], seconds)[0]
        for fd in ready:
            terminals[fd].read()
        return bool(ready)

    def still(self):
        """どのスレッドも何かを待っていて、続けて見ても動いていない。"""
        before = snapshot()
        time.sleep(0.02)  # 混んだ機械では、ループバックのパケットも遅れる
        return before is not None and before == snapshot() and not self.drain()

    def settle(self):
        """静まるのを待つ。人も、画面が落ちついてから次を打つ。"""
        limit = time.monotonic() + TIMEOUT
        while not self.still() and time.monotonic() < limit:
            self.drain()

    def wait(self, terminal, condition):
        """成り立つまで待つ。待ってもむだなら偽。何かが動いている間は、遅いだけとみて長く待つ。"""
        start = time.monotonic()
        while not condition():
            if self.drain(0.02):
                continue
            waited = time.monotonic() - start
            alone = not terminal.running and list(processes().values()).count(terminal.pid) <= 1
            if alone or waited > 10 * TIMEOUT or waited > TIMEOUT and self.still():
                self.drain()
                return condition()
        return True

    def interrupt_all(self):
        """読み手は、見出しが変わると、動かしたものを Ctrl-C で止める。それで何も残らないこと。"""
        for terminal in self.terminals.values():
            if terminal.running:
                os.write(terminal.fd, KEYS['^C'].encode())
        shells = {terminal.pid for terminal in self.terminals.values()}
        limit = time.monotonic() + TIMEOUT
        while set(processes()) - shells and time.monotonic() < limit:
            self.drain(0.02)
        for pid in set(processes()) - shells:
            with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline') as file:
                raise Different(len(self.block.lines), '節の終わりに、Ctrl-C で止まらないものが残ります',
                                None, file.read().replace('\0', ' '))

    def end(self):
        """この節で始まったプロセスを、すべて終わらせる。"""
        start, signals = time.monotonic(), [signal.SIGHUP, signal.SIGCONT]
        while processes() and time.monotonic() - start < TIMEOUT:
            if time.monotonic() - start > 2:
                signals = [signal.SIGKILL]
            for pid in processes():
                with contextlib.suppress(ProcessLookupError):
                    for number in signals:
                        os.kill(pid, number)
            signals = []
            time.sleep(0.01)
            reap()
        for terminal in self.terminals.values():
            terminal.close()
        if processes():
            fail(self.block.place(), f'プロセスが残りました: {sorted(processes())}')


class Quiz(Replay):
    """一つの節を、予想の問いを出しながら動かす。"""

    def interrupt_all(self):
        """最後の問いで終わるので、動いているものが残っていてもよい。"""

    def run_block(self, block):
        print(f'\n{block.title or "端末A"}')
        question = block.question
        if question:
            print(*(f'    {step.text}' for step in steps_of(block) if step.text), f'\n予想: {question.text}', sep='\n')
            text = input('(はい か いいえ) > ' if question.yes else '> ')
        real = super().run_block(block) if block.replay() else block.lines  # 動かさないのは、壊し方のパッチ
        # ss は、端末の幅いっぱいに列を広げる。
        print(*('    ' + re.sub(' {8,}', '  ', line) for line in real), sep='\n', flush=True)
        if question:
            answer = question.answer(self.output_lines)
            mark = '○' if question.accepts(text, answer) else '×'
            counts[mark] += 1
            print(f'{mark} 答えは {answer}')
        return real


def quiz(note):
    """ノートの予想の問いを出す。終了ステータスを返す。"""
    sys.stdin.reconfigure(errors='replace')  # 打ちまちがえたバイトで終わらない
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        for title, blocks in note.sections:
            while blocks and not blocks[-1].question:
                blocks.pop()
            if blocks:
                print(f'\n== {title}')
                replay(title, [block for block in blocks if block.replay() or block.language == 'diff'], Quiz())
    print(f'\n{counts["○"] + counts["×"]} 問のうち、{counts["○"]} 問が当たりました')
    return 1 if failures else 0


def replay(title, blocks, session, update=False, strict=False):
    try:
        try:
            session.run(blocks)
        except Different:
            if not update:
                raise
            session = Replay(recording=True)
            session.run(blocks)
            blocks[0].note.edits += session.recorded
    except Different as problem:
        offset, *details = problem.args
        fail(session.block.place(offset), *details)
    except MissingTool as missing:
        place, message = session.block.place(missing.args[0]), f'「{title}」の残り ({missing.args[1]} がありません)'
        if strict:
            fail(place, '省けません: ' + message)
        else:
            print(f'省略: {place}: {message}')
    counts['端末の例'] += len(session.recorded)


def isolate():
    """できれば、自分だけのネットワークとプロセスの番号の中で動きなおす。よそのサーバーや、前の回の
    TIME-WAIT と出会わず、ノートの pkill がよそのプロセスに届くこともない。"""
    prepare = 'ip link set lo up && echo 4000 > /proc/sys/kernel/ns_last_pid && exec "$@"'  # ノートと同じ桁に
    command = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', prepare, 'sh']
    tools = all(shutil.which(tool) for tool in ('unshare', 'ip'))
    if tools and subprocess.run([*command, 'true'], stderr=subprocess.DEVNULL).returncode == 0:
        os.environ['CHECK_NOTES_ISOLATED'] = 'yes'
        os.execvp(command[0], [*command, sys.executable, *sys.argv])


def main():
    global TIMEOUT
    parser = argparse.ArgumentParser(description='ノートが、書いてあるとおりかどうかを確かめる')
    parser.add_argument('files', nargs='*', help='確かめるノート (省くと README.md と docs/*.md)')
    parser.add_argument('--quick', action='store_true', help='端末の例を動かさない')
    parser.add_argument('--update', action='store_true', help='違っていた引用と出力を、本物に書き換える')
    parser.add_argument('--predict', action='store_true', help='ノートの予想の問いを出し、本物を動かして答え合わせをする')
    parser.add_argument('--strict', action='store_true', help='道具がなければ失敗とする (CI=true でも同じ)')
    parser.add_argument('--timeout', type=float, default=TIMEOUT, help='何も起こらないときに待つ秒数 (%(default)g)')
    options = parser.parse_args()
    TIMEOUT = options.timeout
    strict = options.strict or os.environ.get('CI') == 'true'
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))
    files = [os.path.relpath(path, root) for path in options.files]
    os.chdir(root)

    if not options.quick and 'CHECK_NOTES_ISOLATED' not in os.environ:
        isolate()
    if not options.quick:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # 止められても、始めたプロセスを残さない
        # PR_SET_CHILD_SUBREAPER: 親を失ったプロセスを引き取る。init がすぐに回収するとはかぎらない。
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    notes = [Note(path) for path in files or glob.glob('README.md') + sorted(glob.glob('docs/*.md'))]
    for note in notes:
        check_questions(note)
    if options.predict:
        return 1 if failures else quiz(max(notes, key=lambda note: len(note.questions)))  # 付録でなく章のノート
    for note in notes:
        for block in note.blocks:
            if block.language == 'console' and not (re.fullmatch('(端末[A-Z])?', block.title)
                                                    and block.word in ('', '順不同', '参考')):
                fail(block.place(), '端末の例の名前は **端末A** と書きます。あとにつくのは (順不同) か (参考) です')
        check_quotes(note, options.update)
        check_links(note)
        check_names(note)

    for note in notes:
        for title, blocks in note.sections:
            blocks = [block for block in blocks if block.replay()]
            if blocks and not options.quick:
                replay(title, blocks, Replay(), options.update, strict)
        if note.edits:
            note.save()
    if failures:
        print(f'{failures} 件が、ノートと違います')
        return 1
    print('、'.join(f'{name} {count} 件' for name, count in counts.items()) + 'を確かめました')
    return 0


if __name__ == '__main__':
    sys.exit(main())
