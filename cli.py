"""The `compmod` command: it finds the command that the first word names, and lets it read the other words.

A command is a function; its parameters are its options. A mistake of the user's is one line and exit status 2.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional, arg

from . import __version__
from .pretrain.commands.completion import Shell, completion_script
from .pretrain.commands.options import check_words
from .pretrain.commands.parsing import Command, errors_in_one_line, is_resumable, parsed
from .pretrain.commands.usage import usage
from .pretrain.records.provenance import git_state

GROUPS = {  # module:function below this package, imported when it is asked for
    "run": {
        "demo": "tables.commands.demo:demo_command",
        "pretrain": "pretrain.commands.pretrain:pretrain_command",
        "evaluate": "pretrain.commands.evaluate:evaluate_command",
        "transfer": "transfer.commands.transfer:transfer_command",
        "export": "transfer.commands.export:export_command",
    },
    "tables": {
        "table": "tables.commands.table:table_command",
        "plan": "tables.commands.plan:plan_command",
        "claims": "tables.commands.claims:claims_command",
        "report": "tables.commands.report:report_command",
    },
    "cluster": {
        "cluster": "slurm.commands.submit:cluster_command",
        "submit": "slurm.commands.submit:submit_command",
        "status": "slurm.commands.status:status_command",
        "logs": "slurm.commands.status:logs_command",
        "cancel": "slurm.commands.cancel_retry:cancel_command",
        "retry": "slurm.commands.cancel_retry:retry_command",
    },
    "tools": {
        "data": "pretrain.commands.data:data_command",
        "methods": "pretrain.commands.methods:methods",
        "doctor": "transfer.commands.doctor:doctor_command",
        "completion": "cli:completion_command",
    },
}
COMMANDS = {name: where for commands in GROUPS.values() for name, where in commands.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit status 2 with one line on a mistake, 1 on a failure while computing."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with errors_in_one_line():
        check_words(arguments)
        if not arguments or arguments[0] in ("-h", "--help"):
            groups = {group: {name: _imported(name) for name in names} for group, names in GROUPS.items()}
            print(usage(groups), flush=True)
            return
        if arguments[0] == "--version":
            print(version(), flush=True)
            return
        name, *rest = arguments
        command = _imported(name)
        with errors_in_one_line(resumable=is_resumable(command)):
            parsed(command, rest, f"compmod {name}")()


def completion_command(
    shell: Annotated[Positional[Shell], arg(metavar="bash|zsh|fish", help="that is to run the script")],
) -> None:
    """Print a script that lets a shell complete commands and options: eval "$(compmod completion bash)"."""
    print(completion_script(shell, {name: _imported(name) for name in COMMANDS}), end="", flush=True)


def version() -> str:
    """The version and, of a checkout, its commit."""
    git = git_state()
    changed = ", with changes" if git["dirty"] else ""
    return f"compmod {__version__}" + ("" if git["commit"] == "unknown" else f" (commit {git['commit'][:12]}{changed})")


def _imported(name: str) -> Command:
    """The function of a command. Raises ValueError on an unknown name."""
    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}")
    module, _, function = COMMANDS[name].partition(":")
    command: Command = getattr(importlib.import_module(f".{module}", __package__), function)
    return command
