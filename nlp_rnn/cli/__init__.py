"""The command line: `nlp-rnn <verb> <task> …`, and `python tasks/<task>.py <verb> …`.

stdout carries results, stderr the log. Exit 0 success, 1 failure, 2 bad usage or input, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

from nlp_rnn.errors import Diverged, InputError, Interrupted, WorkerLost, did_you_mean

VERBS = {
    "train": "train a model on your data and write a run directory",
    "evaluate": "measure a run on labelled data",
    "predict": "apply a run to texts",
    "export": "write a SavedModel that takes raw strings",
}
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
    try:
        return _dispatch(task, arguments)
    except InputError as error:
        return _fail(str(error), 2, debug)
    except Interrupted as error:
        return _fail(str(error), 130, debug)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130, debug)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC or "Not enough disk space" in str(error):
            place = f" ({error.filename})" if error.filename else ""
            return _fail(f"No space is left on the disk{place}: free some, or choose another place.", 2, debug)
        return _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + ".", 1, debug)
    except (Diverged, WorkerLost) as error:
        return _fail(str(error), 1, debug)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error} (add --debug for the traceback).", 1, debug)


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
        if {"-h", "--help"} & set(rest):
            print(f"usage: nlp-rnn {verb} [--json]\n\n{GENERAL[verb]}")
            return 0
        if unknown := [argument for argument in rest if argument != "--json"]:
            raise InputError(f'nlp-rnn {verb} takes --json and nothing else; leave out "{unknown[0]}".')
        return importlib.import_module(f"nlp_rnn.cli.{verb}").run(rest)
    if task is None and rest and rest[0] in _task_names():
        task, *rest = rest
    if verb == "train" and task is None and {"-h", "--help"} & set(rest):
        tasks = _task_names()
        print(f"usage: nlp-rnn train TASK …\n\ntasks: {', '.join(tasks)}")
        print(f"\nnlp-rnn train {tasks[0]} --help has the options.")
        return 0
    if verb == "train" and task is None:
        if rest and not rest[0].startswith("-"):
            raise InputError(f'There is no task "{rest[0]}".{did_you_mean(rest[0], _task_names())}')
        names = _task_names()
        raise InputError(f"Say which task to train, such as nlp-rnn train {names[0]}; there are: {', '.join(names)}.")
    if verb in VERBS:
        return importlib.import_module(f"nlp_rnn.cli.{verb}").run(task, rest)
    if verb in _commands(task, rest):
        return importlib.import_module("nlp_rnn.cli.commands").run(task, verb, rest)
    known = [*VERBS, *(GENERAL if task is None else ()), *_commands(task, rest)]
    raise InputError(f'There is no command "{verb}".{did_you_mean(verb, known)}')


def program(task: str | None, verb: str) -> str:
    """How the user calls a verb, for messages."""
    if task is not None and sys.argv[0].endswith(".py"):
        return f"python {sys.argv[0]} {verb}"
    return f"nlp-rnn {verb} {task}" if task and verb == "train" else f"nlp-rnn {verb}"


def _task_names() -> list[str]:
    from nlp_rnn.registry import task_names

    return task_names()


def _commands(task: str | None, rest: list[str]) -> list[str]:
    from nlp_rnn.registry import get_task, task_names

    names = [task] if task is not None else task_names()
    return sorted({command for name in names for command in get_task(name).commands})


def _usage(task: str | None) -> str:
    own = f"python {sys.argv[0]} VERB" if task else "nlp-rnn VERB [TASK]"
    lines = [f"usage: {own} …", "", "verbs:"]
    lines += [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    lines += [f"  {command:<10} a verb of one task: see its --help" for command in _commands(task, [])]
    if task is None:
        lines += [f"  {verb:<10} {text}" for verb, text in GENERAL.items()]
        lines += ["", f"tasks: {', '.join(_task_names())}"]
    return "\n".join([*lines, "", "Every verb has --help and --json; --debug shows the traceback of an error."])


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"{'' if code == 130 else 'error: '}{message}", file=sys.stderr)
    return code
