"""What every task must do, as a test class for pytest.

A package runs it on a task of its own:

    from nlp_rnn.testing import Subject, TaskContract

    def write(folder):                      # small data → settings of `data`
        (folder / "data.csv").write_text(…)
        return {"train": [str(folder / "data.csv")]}

    class TestMyTask(TaskContract):
        subjects = [Subject("my-task", {"train": {"epochs": 3}}, write, inputs=["one input", "another"])]

Each subject is trained once, is exported once, and one fresh process loads all runs and exports.
"""

import pytest

pytest.register_assert_rewrite("nlp_rnn.testing.comparing", "nlp_rnn.testing.contract")

from nlp_rnn.testing.comparing import assert_close, assert_same_run  # noqa: E402
from nlp_rnn.testing.contract import TaskContract  # noqa: E402
from nlp_rnn.testing.subjects import Subject, in_a_fresh_process  # noqa: E402

__all__ = ["Subject", "TaskContract", "assert_close", "assert_same_run", "in_a_fresh_process"]
