"""The command line: `nlp-rnn <verb> <task> …`, and `python tasks/<task>.py <verb> …`.

stdout carries results, stderr the log. Exit codes: 0 success, 1 failure, 2 bad usage or input, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.options import peek, run_path, wants_help
from nlp_rnn.errors import Diverged, ExportDiffers, InputError, Interrupted, WorkerLost, did_you_mean

if TYPE_CHECKING:
    from types import FrameType

    from nlp_rnn.config.sections import Settings
    from nlp_rnn.tasks.base import AnyTask

VERBS = {
    "train": "train a model on your data and write a run directory",
    "evaluate": "measure a run on labelled data",
    "predict": "apply a run to raw input",
    "export": "write a SavedModel, ONNX or LiteRT",
    "serve": "answer requests over HTTP",
    "data": "say what is in your data before you train on them",
    "inspect": "look inside a run: memory, gates, confidences, errors, labels",
    "compare": "train several kinds of model on your data and say which to choose",
    "ensemble": "join several runs to one",
    "sweep": "train with many settings on your data and write the best ones",
}
_OF_TASKS = ("train", "data", "compare", "sweep")
GENERAL = {
    "tasks": "list the tasks",
    "recipes": "list the recipes of the tasks",
    "doctor": "say what this machine has and what is missing",
}


def main(task: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code.

    Args:
        task: name of the task whose commands these are; by default it follows the verb.
        arguments: by default those of the process.
    """
    sys.exit(run_command(task, list(sys.argv[1:] if arguments is None else arguments)))


def run_command(task: str | None, arguments: list[str]) -> int:
    """Runs a command and returns its exit code; every error becomes one sentence on stderr."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    heard: list[KeyboardInterrupt] = []
    try:
        with _hearing(heard):
            return _dispatch(task, arguments)
    except Interrupted as error:
        return _fail(str(error), 130, debug)
    except KeyboardInterrupt as error:
        return _ended(error, debug)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if heard:  # where a library made another error of it
            return _ended(heard[0], debug)
        return _failed(error, debug)


def _ended(error: KeyboardInterrupt, debug: bool) -> int:
    is_term = isinstance(error, _Terminated)
    return _fail("Terminated." if is_term else "Interrupted.", 143 if is_term else 130, debug)


def _failed(error: Exception, debug: bool) -> int:
    if isinstance(error, InputError):
        return _fail(str(error), 2, debug)
    if isinstance(error, (Diverged, ExportDiffers, WorkerLost)):
        return _fail(str(error), 1, debug)
    place = getattr(error, "filename", None) or ""
    if getattr(error, "errno", None) == errno.ENOSPC or any(words in str(error) for words in _FULL_DISK):
        where = f" ({place})" if place else ""
        return _fail(f"No space is left on the disk{where}: free some, or choose another place.", 2, debug)
    if isinstance(error, OSError):
        return _fail(f"{error.strerror or error}: {place}".rstrip(": ") + ".", 1, debug)
    return _fail(f"{type(error).__name__}: {error} (add --debug for the traceback).", 1, debug)


# What HDF5 and TensorFlow say, whose errors have no number.
_FULL_DISK = ("Not enough disk space", "No space left on device")


class _Terminated(KeyboardInterrupt):
    """SIGTERM ends a command as Ctrl-C does: what it was writing is removed, and it says so."""


@contextlib.contextmanager
def _hearing(heard: list[KeyboardInterrupt]) -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise, and stand in the list; training has its own way to end."""

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(_Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise heard[-1]

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dispatch(task: str | None, arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from nlp_rnn import __version__

        print(f"nlp-rnn {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(task))
        return 0 if arguments else 2
    verb, *rest = arguments
    if task is None and verb in GENERAL:
        if wants_help(rest):
            print(f"usage: nlp-rnn {verb} [--json]\n\n{GENERAL[verb]}")
            return 0
        if unknown := [argument for argument in rest if argument != "--json"]:
            raise InputError(f'nlp-rnn {verb} takes only --json; leave out "{unknown[0]}".')
        return importlib.import_module(f"nlp_rnn.cli.{verb}").run(rest)
    if task is None and rest and rest[0] in _task_names():
        task, *rest = rest
    if verb in _OF_TASKS and task is None and wants_help(rest):
        tasks = _task_names()
        either = " or FILE…" if verb == "data" else ""
        print(f"usage: nlp-rnn {verb} TASK{either} …\n\ntasks: {', '.join(tasks)}")
        print(f"\nnlp-rnn {verb} {tasks[0]} --help shows the options.")
        return 0
    if verb == "train" and task is None and (path := peek(rest, resume=None)["resume"]):
        from nlp_rnn.saved import task_of

        task = task_of(path).name
    if verb == "data" and task is None:
        task, rest = _task_of_files(rest)
    if verb in _OF_TASKS and task is None:
        if rest and not rest[0].startswith("-"):
            raise InputError(f'There is no task "{rest[0]}".{did_you_mean(rest[0], _task_names())}')
        names = _task_names()
        what = "whose data they are" if verb == "data" else f"which task to {verb}"
        raise InputError(f"Say {what}, such as nlp-rnn {verb} {names[0]}. Available: {', '.join(names)}.")
    if task is not None:
        from nlp_rnn.cli.meant import meant_task

        task = meant_task(task, rest)
    if verb in VERBS:
        return importlib.import_module(f"nlp_rnn.cli.{verb}").run(task, rest)
    own = _commands(task)
    if verb in own:
        return _run_own(task, verb, rest)
    known = [*VERBS, *(GENERAL if task is None else ()), *own]
    raise InputError(f'There is no command "{verb}".{did_you_mean(verb, known)}')


def _is_place(name: str) -> bool:
    return Path(name).exists() or "/" in name or "." in name[1:]


def _task_of_files(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The task that the files at the beginning are for, and arguments that name them as `--data` does; None where there
    are no files."""
    from nlp_rnn.cli.kinds import kind_of_files

    arguments = sorted(arguments, key=lambda argument: argument == "--json")  # which may stand before the files
    if arguments[:1] == ["-"]:
        raise InputError("Standard input can be read once only: say whose data they are, nlp-rnn data TASK --data -.")
    if not arguments or not _is_place(arguments[0]):
        return None, arguments
    count = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    files, rest = arguments[:count], arguments[count:]
    given = {argument.partition("=")[0] for argument in rest}
    kind = kind_of_files(files, given)
    pairs = [pair for pair in zip(kind.options[::2], kind.options[1::2], strict=True) if pair[0] not in given]
    whole = ["--data", *files, *(part for pair in pairs for part in pair), *rest]
    told = shlex.join(["data", kind.task, *whole])
    print(f"Read as data for {kind.task}, by {kind.by}: nlp-rnn {told}", file=sys.stderr)
    return kind.task, whole


def program(task: str | None, verb: str) -> str:
    """How the user calls a verb, for messages."""
    if task is not None and sys.argv[0].endswith(".py") and not sys.argv[0].endswith("__main__.py"):
        return f"python {sys.argv[0]} {verb}"
    return f"nlp-rnn {verb} {task}" if task and verb in _OF_TASKS else f"nlp-rnn {verb}"


def settings_of_run(task: str | None, arguments: list[str], prog: str) -> tuple[AnyTask, Settings]:
    """The task and the configuration of the run, which comes first; for help without a run the task with its defaults,
    or a task that has nothing of its own where none is named."""
    from nlp_rnn.registry import get_task
    from nlp_rnn.saved import read_settings

    if not wants_help(arguments) or _begins_with_a_run(arguments):
        return read_settings(Path(run_path(arguments, prog)), task)
    if task is not None:
        return get_task(task), get_task(task).Config()
    return _any_task()


def _begins_with_a_run(arguments: list[str]) -> bool:
    return bool(arguments) and (Path(arguments[0]) / "config.yaml").is_file()


def _any_task() -> tuple[Any, Any]:
    """What all tasks have."""
    from dataclasses import field, make_dataclass
    from types import SimpleNamespace

    from nlp_rnn.config.sections import DataConfig
    from nlp_rnn.tasks.base import NoOptions, no_options

    config = make_dataclass("Config", [("data", DataConfig, field(default_factory=DataConfig))], frozen=True)
    print("With a RUN or a TASK before --help, the options of that task are shown too.\n")
    return SimpleNamespace(Options=NoOptions, options=no_options), config()


def _task_names() -> list[str]:
    from nlp_rnn.registry import task_names

    return task_names()


def _run_own(task: str | None, verb: str, rest: list[str]) -> int:
    """A verb of one task, or another name of `predict`."""
    from nlp_rnn.registry import get_task
    from nlp_rnn.saved import task_of

    owners = _commands(task)[verb]
    if not wants_help(rest) or _begins_with_a_run(rest):
        owner = task_of(run_path(rest, program(task, verb)), task)
    elif len(owners) > 1:
        print(f"{verb} is a verb of {' and '.join(owners)}. To see its options:\n")
        print("\n".join(f"  nlp-rnn {verb} {owner} --help" for owner in owners))
        return 0
    else:
        owner = get_task(owners[0])
    if verb in (owner.synonyms or {}):
        from nlp_rnn.cli import predict

        return predict.run(task, rest, verb, (owner.synonyms or {})[verb])
    return importlib.import_module("nlp_rnn.cli.commands").run(owner, verb, rest, program(task, verb))


def _commands(task: str | None) -> dict[str, list[str]]:
    """The verbs that only some tasks have, with the names of those tasks."""
    from nlp_rnn.registry import get_task, task_names

    found: dict[str, list[str]] = {}
    for name in [task] if task is not None else task_names():
        owner = get_task(name)
        for command in [*(command.name for command in owner.commands), *(owner.synonyms or {})]:
            found.setdefault(command, []).append(name)
    return dict(sorted(found.items()))


def _usage(task: str | None) -> str:
    own = f"python {sys.argv[0]} VERB" if task else "nlp-rnn VERB [TASK]"
    lines = [f"usage: {own} …", "", "verbs:"]
    lines += [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    lines += [f"  {command:<10} of {', '.join(owners)}: see its --help" for command, owners in _commands(task).items()]
    if task is None:
        lines += [f"  {verb:<10} {text}" for verb, text in GENERAL.items()]
        lines += ["", f"tasks: {', '.join(_task_names())}"]
    return "\n".join([*lines, "", "Every verb has --help and --json; --debug shows the traceback of an error."])


def _fail(message: str, code: int, debug: bool) -> int:
    from nlp_rnn.display.console import visible

    if debug:
        import traceback

        traceback.print_exc()
    print(visible(f"{'' if code in (130, 143) else 'error: '}{message}"), file=sys.stderr)
    return code
