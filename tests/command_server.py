"""Commands in processes of their own, forked from one that has imported everything: milliseconds instead of seconds.

A command that hangs, also inside a library, is killed; what it leaves in memory reaches no other. On the path of
every test. Run as a script this is the server: it reads a request a line and answers each with a line, in JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = float(
    os.environ.get("COMPMOD_FUZZ_SECONDS", "15")
)  # that a command of tiny work may take, on a busy machine too
MEMORY = 8 * 2**30  # bytes of its own, so that an absurd size does not take the whole machine
HUNG = "hung"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int | str  # exit status, less the signal's number where one ended it, or HUNG
    out: str
    err: str


class Server:
    """A process that forks one child a command, one at a time."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        for name in ("COMPMOD_CLUSTERS", "RANK", "WORLD_SIZE", "PYTHONWARNINGS"):
            environment.pop(name, None)
        paths = [str(Path(__file__).parent), *filter(None, sys.path)]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, *arguments: str, function: str = "compmod.cli:main", seconds: float = SECONDS) -> Said:
        """Call `module:function` with the arguments as a list, in a process of its own."""
        return self._ask({"function": function, "arguments": arguments, "seconds": seconds})

    def warm(self, *arguments: str, function: str = "compmod.cli:main") -> Said:
        """Run a command in the server itself, so that what it imports and works out once is there for all later ones.

        Not for commands that train: a process that has differentiated cannot be forked.
        """
        return self._ask({"function": function, "arguments": arguments, "seconds": 0})

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> Said:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Said(**json.loads(self._process.stdout.readline()))


def _serve() -> None:
    answers = os.dup(sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if request["seconds"]:
                status = _forked(request, out.fileno(), err.fileno())
            else:
                with _redirected(out.fileno(), err.fileno()):
                    status = _called(request["function"], request["arguments"])
            said = {"status": status}
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                said[name] = file.read().decode(errors="backslashreplace")
        os.write(answers, json.dumps(said).encode() + b"\n")


def _forked(request: dict[str, Any], out: int, err: int) -> int | str:
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            with _redirected(out, err):
                status = _called(request["function"], request["arguments"])
            os._exit(status)
        os._exit(99)
    until = time.monotonic() + request["seconds"]
    while time.monotonic() < until:
        done, how = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(how)
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


@contextlib.contextmanager
def _redirected(out: int, err: int) -> Any:
    """Standard output and error of this process, also of its libraries, to these files."""
    kept = [(stream, os.dup(stream.fileno())) for stream in (sys.stdout, sys.stderr)]
    for (stream, _), file in zip(kept, (out, err), strict=True):
        os.dup2(file, stream.fileno())
    try:
        yield
    finally:
        for stream, file in kept:
            stream.flush()
            os.dup2(file, stream.fileno())
            os.close(file)


def _called(function: str, arguments: Sequence[str]) -> int:
    """What the process would leave with."""
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)(list(arguments))
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    import compmod.cli  # noqa: F401
    import torch

    torch.set_num_threads(1)
    _serve()
