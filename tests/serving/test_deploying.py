"""The files with which the server is deployed name options that it has."""

from __future__ import annotations

import json
import re
import shlex

import yaml

from nlp_rnn.cli.serve import ServeOptions
from nlp_rnn.config.options import parse
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "deploying"


def options(arguments):
    return parse(ServeOptions, arguments, "nlp-rnn serve", "")


def entry_point():
    text = (FOLDER / "Dockerfile").read_text()
    return json.loads(re.search(r"ENTRYPOINT (\[.*\])", text)[1])


def test_the_container():
    command = entry_point()
    assert command[:2] == ["nlp-rnn", "serve"]
    found = options([*command[2:], "imdb=/models/imdb"])
    assert (found.models, found.host, found.port, found.grpc_port) == (("imdb=/models/imdb",), "0.0.0.0", 8501, 8500)
    for source in re.findall(r"COPY (.*) \S+", (FOLDER / "Dockerfile").read_text()):
        assert all((ROOT / name).exists() for name in source.split())


def test_kserve():
    about = yaml.safe_load((FOLDER / "inferenceservice.yaml").read_text())
    (container,) = about["spec"]["predictor"]["containers"]
    found = options([*entry_point()[2:], *container["args"]])
    assert found.port == container["ports"][0]["containerPort"] == container["readinessProbe"]["httpGet"]["port"]
    assert found.host == "0.0.0.0"


def test_systemd():
    text = (FOLDER / "nlp-rnn.service").read_text()
    program, verb, *arguments = shlex.split(re.search(r"ExecStart=(.*)", text)[1])
    assert (program.rpartition("/")[2], verb) == ("nlp-rnn", "serve")
    assert options(arguments).host == "127.0.0.1"
