"""The C++ kernels misuse neither memory nor threads, as far as the compiler's sanitizers can tell."""

from __future__ import annotations

import os
import subprocess

import pytest

from nlp_rnn.layers import native
from tests.conftest import ROOT


@pytest.mark.slow  # each is compiled for itself, and runs ten times as slowly
@pytest.mark.parametrize(("sanitizer", "count"), [("address,undefined", 60), ("thread", 20)])
def test_random_recurrences_under_a_sanitizer(tmp_path, sanitizer, count):
    compiler = native._compiler()
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program = tmp_path / "sanitized"
    options = ["-std=c++17", "-O1", "-g", "-march=native", "-pthread", f"-I{native.SOURCES}"]
    options += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    built = subprocess.run(
        [compiler, *options, str(ROOT / "tests/layers/sanitized.cc"), "-o", str(program)],
        capture_output=True,
        text=True,
    )
    if "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no sanitizer for {sanitizer}")
    assert built.returncode == 0, built.stderr
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([str(program), str(count)], capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
