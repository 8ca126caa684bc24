"""Scripts that mean harm, and the reason for which each has to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from springtide.sandbox.seam import Reason

__all__ = ["HOSTILE", "Hostile"]


@dataclass(frozen=True, slots=True)
class Hostile:
    """What a script does, and how it ends under `TIGHT` limits."""

    script: str
    ends: Reason


HOSTILE = {
    "forks without end": Hostile(
        """
import os
while True:
    try:
        if os.fork() == 0:
            open(f"{os.getpid()}", "w").close()
    except OSError:
        open("refused", "w").close()
""",
        "out of time",
    ),
    "fills the disk with files": Hostile(
        "for n in range(10**9):\n    open(f'{n}', 'wb').write(bytes(10**6))", "disk full"
    ),
    "fills the disk with one file": Hostile(
        "file = open('big', 'wb')\nwhile True:\n    file.write(bytes(10**6))", "disk full"
    ),
    "fills the disk with files that it deletes and keeps open": Hostile(
        """
import os
files = []
for n in range(10**9):
    files.append(open('gone', 'wb', buffering=0))
    os.unlink('gone')
    files[-1].write(bytes(10**6))
""",
        "disk full",
    ),
    "fills the disk with empty files": Hostile("for n in range(10**9):\n    open(f'{n}', 'w').close()", "disk full"),
    "makes folders in folders": Hostile(
        "import os\nfor n in range(10**9):\n    os.mkdir('d')\n    os.chdir('d')", "disk full"
    ),
    "fills /tmp": Hostile(
        "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'wb').write(bytes(10**6))", "disk full"
    ),
    "allocates at once": Hostile(
        "kept = bytearray(10**10)\nfor n in range(0, len(kept), 4096):\n    kept[n] = 1", "out of memory"
    ),
    "allocates bit by bit": Hostile(
        "kept = []\nwhile True:\n    kept.append(bytearray(b'x' * 10**7))", "out of memory"
    ),
    "allocates in many processes": Hostile(
        """
import os, time
for _ in range(20):
    if os.fork() == 0:
        kept = bytearray(b'x' * 4 * 10**7)
        time.sleep(60)
time.sleep(60)
""",
        "out of memory",
    ),
    "reads a great hole, which takes nothing but page tables": Hostile(
        """
import mmap
size = 400 << 30
hole = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)  # MAP_NORESERVE
hole.madvise(mmap.MADV_NOHUGEPAGE)
for place in range(0, size, 2 << 20):
    hole[place]
""",
        "out of memory",
    ),
    "sleeps for ever": Hostile("import time\ntime.sleep(10**6)", "out of time"),
    "closes its output and sleeps for ever": Hostile(
        "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(10**6)", "out of time"
    ),
    "prints a gigabyte": Hostile("for _ in range(10**6):\n    print('x' * 1000)", "too much output"),
    "prints a gigabyte in one line": Hostile(
        "import sys\nfor _ in range(10**3):\n    sys.stdout.write('x' * 10**6)", "too much output"
    ),
    "prints empty lines": Hostile(
        "import sys\nfor _ in range(10**4):\n    sys.stdout.write('\\n' * 10**5)", "too much output"
    ),
    "reads /etc/shadow": Hostile("print(open('/etc/shadow').read())", "failed"),
    "writes outside its folder": Hostile("open('/usr/bin/python3', 'wb').write(b'x')", "failed"),
    "writes into its inputs": Hostile("open('/in/data', 'w').write('x')", "failed"),
    "connects to this machine": Hostile("import socket\nsocket.create_connection(('127.0.0.1', 22), 2)", "failed"),
    "connects to the world": Hostile("import socket\nsocket.create_connection(('192.0.2.1', 80), 2)", "failed"),
    "writes a link as its output": Hostile("import os\nos.symlink('/etc/passwd', 'model.onnx')", "finished"),
    "forges its result and leaves": Hostile(  # believed as far as tests/contract/test_jobs.py says
        "import os\nos.makedirs('0')\nopen('0/result.json', 'w').write('{}')\nos._exit(0)", "finished"
    ),
    "kills its parent": Hostile(
        """
import os
for pid in (os.getppid(), 1):
    try:
        os.kill(pid, 9)
    except OSError as error:
        print(pid, error)
print('still here')
""",
        "finished",
    ),
}
