"""ノートを読む: 節、ブロック、予想の問い。どこが本物と違うかの報告も、ここに集める。"""

import re
import unicodedata
from collections import Counter

KEYS = {'^C': '\x03', '^D': '\x04'}
DOTS = {'...', '…'}  # 何行でもよい、という印
SIGN = re.compile(r'([A-Z])([$>:])(?: (.*))?')  # A$ 打ったコマンド、A> 打った行、A: 出力
AFTER = ('(順不同)', '(値は環境による)')  # 囲みのすぐあとの行
# ジョブが終わったという bash の知らせ。いつ出るかわからないので、ノートにあってもなくてもよい。
JOB_NOTICE = re.compile(r'\[\d+\][+-]? +(?:Done|Exit|Killed|Terminated|Interrupt|Hangup)\b')
SETTINGS = ('CXX', 'CXXFLAGS', 'LDFLAGS', 'WERROR')  # 端末の中の make にも伝える。違えば、すべてを作りなおすことになる

failures = []
counts = Counter()


def fail(place, message, expected=None, actual=None):
    failures.append(place)
    print(f'{place}: {message}')
    if expected is not None or actual is not None:
        print(f'    ノート: {"(なし)" if expected is None else expected}')
        print(f'    本物:   {"(なし)" if actual is None else actual}')


class Question:
    """端末の例を動かす前に、その結果を予想させる問い。"""

    FORM = re.compile(r'<!-- 答え: (はい |いいえ |数 )?/(.+)/ -->')

    def __init__(self, place, line, text):
        form = self.FORM.fullmatch(line)
        if not form or not text:
            raise re.error('「**予想** 問い」の次の行に「<!-- 答え: はい /正規表現/ -->」のように書きます')
        self.place, self.text = place, text
        self.kind = (form[1] or '').strip()
        self.yes = self.kind in ('はい', 'いいえ')
        self.pattern = re.compile(form[2])
        if not self.kind and self.pattern.groups != 1:
            raise re.error('答えを囲むかっこは一つです')

    def answer(self, output):
        """出力から分かる答え。分からなければ None。"""
        if self.kind == '数':
            return None if DOTS & set(output) else str(sum(bool(self.pattern.search(line)) for line in output))
        found = next(filter(None, map(self.pattern.search, output)), None)
        return ('はい' if found else 'いいえ') if self.yes else found and found[1]

    @staticmethod
    def plain(text):
        """全角と半角、大文字と小文字、空白の違いをなくす。"""
        text = ''.join(unicodedata.normalize('NFKC', text).casefold().split())
        return {'y': 'はい', 'yes': 'はい', 'n': 'いいえ', 'no': 'いいえ'}.get(text, text)

    def understands(self, text):
        """読み手の打った text が、問いの答え方に合うかどうか。"""
        return not self.yes or self.plain(text) in ('はい', 'いいえ')

    def accepts(self, text, answer):
        """読み手の打った text が、答えに当たるかどうか。"""
        text, answer = self.plain(text), self.plain(answer)
        if answer.isdigit():
            text = re.sub(r'[^\d]*(\d+)[^\d]*', r'\1', text)  # 「3 行」でもよい
        return text == answer


class Step:
    """読み手が打つもの (コマンド、行、キー) と、そのあとに見えるはずの出力。"""

    def __init__(self, offset, text, terminal=''):
        self.offset, self.text = offset, text  # text が None なら、前の囲みからの出力の続き
        self.terminal = terminal               # 端末の文字。一つの端末しか使わない囲みでは空
        self.command = bool(text) and text.startswith('$ ')  # シェルに打つ。そうでなければ、動いているものに打つ
        self.shown = []                        # (ブロックの中の行番号, 行)

    def typed(self, text):
        """打ったものを、ノートの書き方に戻す。"""
        if not self.terminal:
            return text.split('\n')
        first, *rest = text.split('\n')
        first = f'{self.terminal}{first}' if self.command else f'{self.terminal}> {first}'.rstrip()
        return [first] + [f'{self.terminal}> {line}' for line in rest]

    def printed(self, lines):
        return [line if line in DOTS or not self.terminal else f'{self.terminal}: {line}'.rstrip() for line in lines]


def steps_of(block):
    """ブロックを、起きた順の Step に分ける。いくつもの端末を一つの囲みに書いたものは、どの行にも、端末の文字と
    印 ($ > :) がある。一つしか使わないものは、打つコマンドに $ があるだけ。"""
    steps, several = [], block.transcript()
    for offset, line in enumerate(block.lines, 1):
        signed = SIGN.fullmatch(line) if several else None
        if signed:
            terminal, sign, text = signed.groups(default='')
        else:
            command = not several and line.startswith('$ ')
            terminal = (steps[-1].terminal if steps else 'A') if several else ''
            sign, text = ('$', line[2:]) if command else (':', line)
        last = steps[-1] if steps else None
        if ((sign == '>' or not several) and last and last.command and last.terminal == terminal
                and last.text.endswith('\\') and not last.shown):
            last.text += '\n' + text
        elif sign == '$':
            steps.append(Step(offset, f'$ {text}', terminal))
        elif sign == '>':
            steps.append(Step(offset, text, terminal))
        elif not JOB_NOTICE.match(text):
            place = last if last and last.terminal == terminal else None
            if block.word == '(順不同)':  # 打つまでの間に出るものを、端末ごとにまとめる
                typed = max((at for at, step in enumerate(steps) if step.text is not None), default=0)
                place = next((step for step in steps[typed:] if step.terminal == terminal), None)
            if place is None:
                place = Step(offset, None, terminal)
                steps.append(place)
            place.shown.append((offset, text))
    return steps


class Block:
    """``` で囲まれた一つのブロック。"""

    def __init__(self, note, start, fence, label):
        self.note, self.start = note, start  # start は ``` の行番号
        self.indent, self.fence, self.language = fence.groups()
        self.title, self.word = label[1] if label else '', ''
        self.lines = []
        self.question = None

    def place(self, offset=0):
        return f'{self.note.path}:{self.start + offset}'

    def replay(self):
        return self.language == 'console' and self.word != '(値は環境による)'

    def transcript(self):
        return any(SIGN.fullmatch(line) for line in self.lines)

    def output(self):
        return [line for step in steps_of(self) for _, line in step.shown]


class Note:
    FENCE = re.compile(r'( *)(`{3,}|~{3,}) *([^`]*)$')
    LABEL = re.compile(r' *\*\*([^*]+)\*\*')  # ブロックの前の行に書く、引用するファイルの名前

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
        self.changed = False            # 表を書き換えた
        slugs, block, label, question = Counter(), None, None, None
        for number, line in enumerate(self.lines, 1):
            if block and re.fullmatch(f' *{block.fence[0]}{{{len(block.fence)},}} *', line):
                after = next(filter(None, map(str.strip, self.lines[number:number + 2])), '')
                block.word = after if after in AFTER else ''
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
                if line.lstrip().startswith('<!-- 答え'):
                    asked = re.fullmatch(r' *\*\*予想\*\* (.+)', self.lines[number - 2])
                    try:
                        question = Question(f'{path}:{number}', line.strip(), asked and asked[1])
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
