"""ノートの端末の例を、本物の端末で動かして、出力を比べる。"""

import codecs
import contextlib
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
import termios
import time

from note import DOTS, JOB_NOTICE, KEYS, SETTINGS, counts, fail, steps_of

# 実行のたびに変わる値。丸かっこの中が値。時間はどう変わってもよい。ほかの値は、ノートの値と
# 本物の値を一対一に対応させる: ノートで同じ PID は本物でも同じで、違う PID は本物でも違う。
TOKENS = [
    ('ポート', r'(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):(\d{5})(?!\d)'),
    ('ポート', r'htons\((\d{5})\)'),
    ('番号', r'(?<![A-Za-z])(?:pid|tid|child)[ =]+(\d+)(?![\dx])'),
    ('時間', r'si_(?:uid|utime|stime)=(\d+)'),
    ('番号', r'FUTEX_\w+, (\d+), NULL'),
    ('番号', r'WNOHANG, NULL\) = (\d{2,})$'),  # strace の wait4() = 4041
    ('番号', r'^(\d+) +(?=\w+\(|<\.\.\.|---|\+\+\+)'),  # strace -o の行の初めの PID
    ('アドレス', r'(0x[0-9a-f]{6,})'),
]
FIRST_EPHEMERAL_PORT = 32768  # これより小さいポートは、自分で決めたもの
# 表を出すコマンド (数えた行数は、表ではない)。空白の数は問わず、2 桁以上の整数はすべて番号とみなす。
TABLE_COMMANDS = {'ps', 'ss'}
TABLE_TOKENS = [*TOKENS, ('番号', r'(?<![\w.:])(\d{2,})(?=(?: \d+)* [A-Za-z])')]
# なくてもよい道具。入っていなければ、その節の残りを省く。
OPTIONAL_TOOLS = {'strace', 'nc', 'ps', 'ss', 'faketime', 'haproxy', 'systemd-socket-activate'}
TIMEOUT = 30.0  # 秒。何も起こらないまま、これだけ待ったらあきらめる


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
    if pairs is None or not expected:
        return pairs
    choices = (match_in_any_order(match(pairs, expected[0], line, table), expected[1:],
                                  actual[:at] + actual[at + 1:], table) for at, line in enumerate(actual))
    return next((found for found in choices if found is not None), None)


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


def processes(ancestor='self'):
    """端末で始まったプロセス。終わったものは reap が回収する。"""
    found = set()
    for path in glob.glob(f'/proc/{ancestor}/task/*/children'):
        with contextlib.suppress(OSError), open(path) as file:  # ちょうど終わったものは読めない
            for pid in map(int, file.read().split()):
                found |= {pid} | processes(pid)
    return found


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


class Different(Exception):
    """端末の例が本物と違う。引数は、ブロックの中の行番号と、fail に渡すもの。"""


class MissingTool(Exception):
    """道具が入っていない。引数は、ブロックの中の行番号と、道具の名前。"""


def require_tools(step):
    words = re.findall(r'(?:^\$|[|;&(]|\b(?:sudo|time|exec)) *(?:\w+=\S* +)*(?=([\w.-]+))', step.text)
    for word in OPTIONAL_TOOLS & set(words):
        if not shutil.which(word):
            raise MissingTool(step.offset, word)
    if 'wire.sh; wire' in step.text and os.system('unshare -Urn true 2>/dev/null'):
        raise MissingTool(step.offset, '名前空間')


class Replay:
    """一つの節を動かす。recording なら、比べずに本物の出力を書きとる。"""

    def __init__(self, recording=False, recorder=None):
        self.recording, self.recorder = recording, recorder
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
        steps, used, real, self.output_lines = steps_of(block), {}, [], []
        for at, step in enumerate(steps):
            name = step.terminal or 'A'
            if name not in self.terminals:
                self.terminals[name] = Terminal()
            terminal = used[name] = self.terminals[name]
            typed = self.enter(terminal, step) if step.text is not None else None
            real += step.typed(typed) if typed is not None else []
            following = next((other for other in steps[at + 1:] if other.terminal == step.terminal), None)
            lines = self.output(terminal, step, must_end=following is not None and following.command)
            real += step.printed(lines)
            self.output_lines += lines
            if self.recorder:
                self.settle()
                self.recorder.see(step, typed, lines)
        self.settle()
        for terminal in used.values():
            if not terminal.running:
                self.no_more(terminal, len(block.lines), '後')
        if block.question and not self.recording:
            noted, found = map(block.question.answer, (block.output(), self.output_lines))
            if noted != found or block.question.yes and block.question.kind != found:
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
            os.write(terminal.fd, (KEYS.get(step.text) or step.text + '\n').encode())
            return step.text
        require_tools(step)
        # 前に出た PID やポートは、本物に置き換えて打つ。
        known = {noted: real for (kind, noted), (_, real) in self.pairs.items() if kind in ('番号', 'ポート')}
        text = re.sub(r'(?<![\w.])\d{2,}(?![\w.])', lambda number: known.get(number[0], number[0]), step.text)
        terminal.table = bool(TABLE_COMMANDS & set(text.split()[1:3])) and not text.endswith('| wc -l')
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
        if self.block.word == '(順不同)':
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
            alone = not terminal.running and not self.running()
            if alone or waited > 10 * TIMEOUT or waited > TIMEOUT and self.still():
                self.drain()
                return condition()
        return True

    def running(self):
        """端末の bash のほかに、残っているプロセス。"""
        return processes() - {terminal.pid for terminal in self.terminals.values()}

    def interrupt_all(self):
        """読み手は、見出しが変わると、動かしたものを Ctrl-C で止める。それで何も残らないこと。"""
        for terminal in self.terminals.values():
            if terminal.running:
                os.write(terminal.fd, KEYS['^C'].encode())
        limit = time.monotonic() + TIMEOUT
        while self.running() and time.monotonic() < limit:
            self.drain(0.02)
        for pid in self.running():
            with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline') as file:
                raise Different(len(self.block.lines), '節の終わりに、Ctrl-C で止まらないものが残ります',
                                None, file.read().replace('\0', ' '))

    def end(self):
        """この節で始まったプロセスを、すべて終わらせる。"""
        limit = time.monotonic() + TIMEOUT
        while processes() and time.monotonic() < limit:
            for pid in processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
            reap()
        for terminal in self.terminals.values():
            terminal.close()
        if processes():
            fail(self.block.place(), f'プロセスが残りました: {sorted(processes())}')


def replay(title, blocks, session, update=False):
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
        if os.environ.get('CI') == 'true':
            fail(place, '省けません: ' + message)
        else:
            print(f'省略: {place}: {message}')
    counts['端末の例'] += len(session.recorded)
