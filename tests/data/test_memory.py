"""Data in memory, in the forms that users have them in, → records, predictions and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_rnn.errors import InputError
from nlp_rnn.run import Run


def in_memory(kind):
    """Rows with a missing text, a missing label, numbers, and an id."""
    import datasets
    import pandas
    import polars

    rows = [{"text": f"a {'fine' if i % 2 else 'joyless'} film", "label": i % 2, "id": i} for i in range(20)]
    rows += [{"text": None, "label": 1, "id": 20}, {"text": "odd", "label": None, "id": 21}]
    return {
        "dicts": rows,
        "data set": datasets.Dataset.from_list(rows),
        "pandas": pandas.DataFrame(rows).astype({"label": "Int64"}),
        "polars": polars.DataFrame(rows),
        "numpy": [{**row, "id": np.array([row["id"]])} for row in rows],
    }[kind]


@pytest.mark.parametrize("kind", ["dicts", "data set", "pandas", "polars", "numpy"])
def test_rows_in_memory(reviews, kind):
    rows = in_memory(kind)
    settings = {"labels": {"0": "negative", "1": "positive"}}
    records = reviews.read(rows, **settings)
    assert records.dropped == {"no label": 1, "no text": 1}
    assert {row["label"] for row in records} == {"negative", "positive"}
    assert reviews.evaluate(rows, **settings)["records"] == 20
    assert [p.text for p in reviews.predict(rows)][-3:] == ["a fine film", "", "odd"]
    assert len(reviews(rows)) == 22


def test_labels_that_are_numbers_stay_whole_where_one_is_missing(reviews):
    import pandas

    frame = pandas.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 0]})
    assert frame["label"].dtype == float
    assert [row["label"] for row in reviews.read(frame)] == ["1", "0"]


def test_data_sets_with_splits_and_their_classes(reviews):
    import datasets

    classes = datasets.ClassLabel(names=["negative", "positive"])
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).cast_column("label", classes)
    parts = datasets.DatasetDict({"train": rows, "test": rows.select([1])})
    assert [row["label"] for row in reviews.read(parts, "train")] == ["negative", "positive"]
    assert [row["label"] for row in reviews.read(parts)] == ["positive"]


def test_what_cannot_be_read_from_memory(reviews):
    import datasets

    with pytest.raises(InputError, match=r'the given data, line 2: "text" must be a text; it is a list\.'):
        reviews.evaluate([{"text": "a", "label": "positive"}, {"text": ["b"], "label": "positive"}])
    with pytest.raises(InputError, match=r"The given data is empty\."):
        reviews.evaluate([])
    with pytest.raises(InputError, match="Data of type int cannot be read: give a file, a list of dicts"):
        reviews.evaluate(5)
    with pytest.raises(InputError, match="An iterable data set cannot be read twice"):
        reviews.evaluate(datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset())


def test_one_text_is_not_a_list_of_letters(reviews: Run):
    with pytest.raises(InputError, match="predict takes several inputs: give a list, or call the run for one text"):
        reviews.predict("abc")
    assert reviews({"text": "a fine film", "id": 5}).text == "a fine film"
