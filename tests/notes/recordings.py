"""ノートの <!-- 記録: 名前 --> のある節を動かしたときに見えたものを、サイトで再生する記録に残す。"""

import datetime
import glob
import json
import os
import platform
import re
import time

from terminal import processes

# 待つことのあるシステムコールの番号。
CALLS = {
    'x86_64': {0: 'read', 1: 'write', 2: 'open', 7: 'poll', 35: 'nanosleep', 43: 'accept', 44: 'sendto', 45: 'recvfrom',
               61: 'wait4', 202: 'futex', 230: 'clock_nanosleep', 232: 'epoll_wait', 257: 'openat', 271: 'ppoll',
               281: 'epoll_pwait', 288: 'accept4'},
    'aarch64': {22: 'epoll_pwait', 56: 'openat', 63: 'read', 64: 'write', 73: 'ppoll', 98: 'futex', 101: 'nanosleep',
                115: 'clock_nanosleep', 202: 'accept', 206: 'sendto', 207: 'recvfrom', 242: 'accept4', 260: 'wait4'},
}


def scenes(note):
    """記録する節の題と、記録の名前。"""
    title, found = None, {}
    for _, line in note.prose:
        heading, mark = re.match(r'##+ +(.*)', line), re.fullmatch(r' *<!-- 記録: ([\w-]+) -->', line)
        title = heading[1] if heading else title
        found.update({title: mark[1]} if mark else {})
    return found


def read(path, default=''):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:  # ちょうど終わった
        return default


def listening():
    """待ち受けている TCP のソケットと、そこに並んでいる接続の数。"""
    rows = [line.split() for line in read('/proc/net/tcp').splitlines()[1:]]
    return {f'socket:[{row[9]}]': int(row[4].split(':')[1], 16) for row in rows if row[3] == '0A'}


def threads_of(pid):
    for tid in sorted(int(path.split('/')[-1]) for path in glob.glob(f'/proc/{pid}/task/*')):
        stat = re.match(r'\d+ \((.*)\) (\w)', read(f'/proc/{pid}/task/{tid}/stat'))
        number = read(f'/proc/{pid}/task/{tid}/syscall').partition(' ')[0]
        if stat:
            call = CALLS.get(platform.machine(), {}).get(int(number)) if number.isdigit() else None
            yield {'pid': pid, 'tid': tid, 'name': stat[1], 'state': stat[2], 'call': call}


class Recorder:
    def __init__(self):
        self.steps, self.servers, self.start = [], set(), time.monotonic()

    def see(self, step, typed, lines):
        """打ったものと、出たものと、そのときのサーバーの様子を加える。"""
        self.steps.append({'at': round((time.monotonic() - self.start) * 1000), 'terminal': step.terminal or 'A',
                           'typed': re.sub(r'^\$ ?', '', typed or ''), 'command': step.command, 'shown': lines,
                           'server': self.server()})

    def server(self):
        sockets, queue, opened = listening(), 0, {}
        for pid in processes():
            opened[pid] = [os.path.realpath(path).split('/')[-1] for path in glob.glob(f'/proc/{pid}/fd/*')]
            if sockets.keys() & opened[pid]:
                self.servers |= {pid} | processes(pid)  # 受け付けをやめたあとも、サーバー
                queue = max(sockets[link] for link in opened[pid] if link in sockets)
        servers = sorted(self.servers & opened.keys())
        return {'threads': [thread for pid in servers for thread in threads_of(pid)], 'queue': queue,
                'descriptors': sum(len(opened[pid]) for pid in servers)}

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            json.dump({'date': datetime.date.today().isoformat(), 'kernel': f'Linux {platform.release().partition("-")[0]}',
                       'steps': self.steps}, file, ensure_ascii=False, indent=1)
            file.write('\n')
