"""How fast and how well a translator translates, greedy and with beams:

python benchmarks/translation.py RUN --data test.en test.de [--beams 1 4 8 12] [--json]

Prints, for each width, BLEU with case folded and sentences a second from the run and from its SavedModel, and the
milliseconds of a single sentence, the median and the 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import nlp_rnn
from nlp_rnn.config.values import override
from nlp_rnn.metrics.translation import translation_report

BATCH = 64


def timed(translate: Any, texts: list[str]) -> tuple[list[str], float]:
    """Translations, and sentences a second."""
    began = time.perf_counter()
    said = translate(texts)
    return said, len(texts) / (time.perf_counter() - began)


def alone(translate: Any, texts: list[str]) -> list[float]:
    """Milliseconds of single sentences: the median and the 95th percentile."""
    spent = []
    for text in texts:
        began = time.perf_counter()
        translate([text])
        spent.append(1000 * (time.perf_counter() - began))
    return [float(value) for value in np.percentile(spent, [50, 95])]


def saved_model(run: Any, folder: Path) -> Any:
    """Texts → translations by the SavedModel, texts of like length together."""
    serve = tf.saved_model.load(str(run.export(folder))).signatures["serving_default"]

    def translate(texts: list[str]) -> list[str]:
        order = np.argsort([len(text) for text in texts], kind="stable")
        said = [""] * len(texts)
        for part in np.array_split(order, -(-len(order) // BATCH)):
            found = serve(source=tf.constant([texts[i] for i in part]))["translation"].numpy()
            for i, text in zip(part, found, strict=True):
                said[i] = text.decode()
        return said

    return translate


def main() -> None:
    """Prints a row for each width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for width in options.beams:
        run = nlp_rnn.load(options.run)
        run.config = override(run.config, {"search": {"width": width}})
        records = run.read(options.data)
        texts = [text or "" for text in records.column("source")]
        references = [text or "" for text in records.column("target")]
        row: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, translate in (
                ("run", lambda texts, run=run: [found.translation for found in run(texts)]),
                ("saved_model", saved_model(run, Path(folder) / "export")),
            ):
                timed(translate, texts)  # traces
                said, row[f"{name}_sentences_per_second"] = timed(translate, texts)
                row[f"{name}_milliseconds"] = alone(translate, texts[:200])
                row[f"{name}_bleu"] = translation_report(said, references)["bleu_tokenized_lowercase"]
        found[width] = row
        if not options.json:
            for name in ("run", "saved_model"):
                speed, (median, most) = row[f"{name}_sentences_per_second"], row[f"{name}_milliseconds"]
                print(
                    f"beam {width:2d} {name:11s} BLEU {row[f'{name}_bleu']:.2f} · {speed:6.1f} sentences/s · "
                    f"one sentence {median:.1f} ms, 95 % within {most:.1f}"
                )
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
