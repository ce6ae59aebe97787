"""What is compiled is kept where nobody else can write, and is loaded only if it is what was compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf

from nlp_rnn import paths
from nlp_rnn.layers import native


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own, and a quick compiler that makes files that are no library, and counts what it links."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NLP_RNN_CACHE", str(folder))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 1; exit; }\n'
        'case " $* " in *" -c "*) ;; *) echo x >> "$(dirname $0)/calls";; esac\n'
        'while [ "$1" != -o ]; do shift; done\necho compiled > "$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(native, "_compiler", lambda: str(compiler))
    for cached in (paths._usable, paths._private):
        cached.cache_clear()
    yield folder
    for cached in (paths._usable, paths._private):
        cached.cache_clear()


def compile_once(cache):
    path = native._compiled(native._compiler())
    calls = cache.parent / "calls"
    return path, len(calls.read_text().splitlines())


def test_it_is_compiled_once(cache):
    path, calls = compile_once(cache)
    assert (path.parent, calls) == (cache, 1)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert compile_once(cache) == (path, 1)


@pytest.mark.parametrize("what", ["other contents", "writable for others", "a link"])
def test_a_library_that_is_not_what_was_compiled_is_not_loaded(cache, what):
    path, _ = compile_once(cache)
    if what == "other contents":
        path.write_text("evil\n")
    elif what == "writable for others":
        path.chmod(0o777)
    else:
        path.rename(cache / "elsewhere")
        path.symlink_to(cache / "elsewhere")
    again, calls = compile_once(cache)
    assert calls == 2
    assert again.read_text() == "compiled\n"
    assert paths.is_private(again)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["the folder", "the file"])
def test_files_of_others_are_not_loaded(cache, whose):
    path, _ = compile_once(cache)
    os.chown(cache if whose == "the folder" else path, 12345, 12345)
    paths._usable.cache_clear()
    again, calls = compile_once(cache)
    assert calls == 2
    assert again.stat().st_uid == os.getuid()
    assert (again.parent == cache) == (whose == "the file")


def test_a_folder_that_others_may_write_is_not_used(cache, capfd):
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    path, _ = compile_once(cache)
    assert path.parent == cache.parent / f"nlp-rnn-{os.getuid()}"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    paths.cache_folder()
    said = [line for line in capfd.readouterr().err.splitlines() if "kept in" in line]
    assert said == [f"What is compiled is kept in {path.parent}: others may write to {cache}."]


def test_many_processes_may_compile_at_once(cache):
    with ThreadPoolExecutor(8) as pool:
        found = {future.result()[0] for future in [pool.submit(compile_once, cache) for _ in range(8)]}
    assert len(found) == 1
    assert [path.name for path in cache.iterdir()] == [found.pop().name]


def test_without_a_compiler_or_with_one_that_fails_the_loops_serve(cache, monkeypatch):
    monkeypatch.setattr(native, "_compiler", lambda: None)
    assert native._built_library() == native.Library(None, "there is no C++ compiler")
    failing = cache.parent / "failing"
    failing.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\necho "no space left" >&2\nexit 1\n')
    failing.chmod(0o755)
    monkeypatch.setattr(native, "_compiler", lambda: str(failing))
    assert native._built_library() == native.Library(None, "compiling or loading them failed: no space left")


def test_what_is_no_library_or_has_no_operations_is_not_used(cache, monkeypatch):
    assert native._built_library().reason.startswith("compiling or loading them failed")
    monkeypatch.setattr(tf, "load_op_library", lambda path: object())
    monkeypatch.setattr("ctypes.CDLL", lambda path: object())
    assert "no attribute 'nlp_rnn_set_threads'" in native._built_library().reason


@pytest.mark.parametrize("home", [None, "/dev/null/home"])
def test_without_a_home_a_private_folder_serves(tmp_path, home):
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment |= {"TMPDIR": str(tmp_path), **({"HOME": home} if home else {})}
    code = "import pwd; pwd.getpwuid = lambda uid: {}[uid]\n" * (home is None)
    code += "from nlp_rnn.paths import cache_folder, use_writable_home; import os; use_writable_home()\n"
    code += "print(cache_folder()); cache_folder(); print(os.environ['HF_HOME'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    private = tmp_path / f"nlp-rnn-{os.getuid()}"
    assert done.stdout.split() == [str(private), str(private / "huggingface")], done.stderr
    assert len(done.stderr.splitlines()) == 1
