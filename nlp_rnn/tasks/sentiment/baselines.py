"""What a linear model makes of the same texts, for comparisons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nlp_rnn.tasks.sentiment.settings import Config

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records


def baselines(config: Config, train: Records, test: Records) -> dict[str, float]:
    """The accuracy of the commonest label, and, where scikit-learn is installed, of naive Bayes features under a linear
    classifier (NB-SVM, Wang and Manning 2012, "Baselines and Bigrams"), here logistic regression over words and pairs
    of words, one class against the rest.

    Args:
        config: of the task; its normalisation is not used.
        train: records with texts and labels.
        test: likewise.
    """
    common = Counter(train.column("label")).most_common(1)[0][0]
    found = {"the commonest label": sum(label == common for label in test.column("label")) / max(len(test), 1)}
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return found
    import numpy as np

    labels = np.array(list(train.column("label")))
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\w+|[^\w\s]", min_df=1)
    read = vectorizer.fit_transform(train.column("text"))
    asked = vectorizer.transform(test.column("text"))
    names = sorted(set(labels.tolist()))
    scores = []
    for name in names:
        is_it = labels == name
        inside, outside = (1 + np.asarray(read[rows].sum(0)).ravel() for rows in (is_it, ~is_it))
        ratios = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        model = LogisticRegression(C=1.0, max_iter=300).fit(read.multiply(ratios).tocsr(), is_it)
        scores.append(model.decision_function(asked.multiply(ratios).tocsr()))
    chosen = np.array(names)[np.argmax(scores, 0)]
    right = float(np.mean(chosen == np.array(list(test.column("label")))))
    return {**found, "linear model of words and pairs (NB-SVM)": right}
