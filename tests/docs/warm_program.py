"""A `weightzip` that starts at once, as the documentation has dozens of commands and each spends seconds on imports.

One server imports everything and loads the kernels. For each command it forks a process, which takes over the caller's
arguments, folder, environment and streams, and runs the program in them. Everything else is as in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(4, "little")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 70)
"""


@contextlib.contextmanager
def warm_program(folder: Path) -> Iterator[Path]:
    """The program in a folder of its own, which is made, for as long as the block lasts."""
    folder.mkdir()
    address = str(folder / "socket")
    program = folder / "weightzip"
    program.write_text(_CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield folder
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def _serve(address: str) -> None:
    import torch

    import weightzip.cli.main  # imported here so that no command has to

    warm = f"{address}.wz"
    weightzip.compress({"weight": torch.randn(64, 64)}, warm, threads=1)
    weightzip.restore(warm, threads=1)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever is done needs no burial
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)  # noqa: T201
        while True:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(caller)
            caller.close()


def _run(caller: socket.socket) -> None:
    """One command, in the process of its own that this is."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, streams, _, _ = socket.recv_fds(caller, 4, 3)
        with caller.makefile("rb") as sent:
            arguments, folder, environment = json.loads(sent.read(int.from_bytes(size, "little")))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["weightzip", *arguments]
        from weightzip.cli.main import execute

        code = execute(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        caller.sendall(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
