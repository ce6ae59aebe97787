"""Signals as pictures, for `predict --plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.tasks.anomaly_values.settings import Options

if TYPE_CHECKING:
    from nlp_rnn.display.signals import SignalPicture
    from nlp_rnn.run import AnyRun

_MOST_LINES = 8


def picture(run: AnyRun, given: object, options: Options) -> SignalPicture:
    """The first of the signals that are given, judged.

    Args:
        run: of anomaly detection in values.
        given: records, or one signal.
        options: of the run.
    """
    import numpy as np

    from nlp_rnn.data.records import Records
    from nlp_rnn.display.signals import Line, SignalPicture
    from nlp_rnn.metrics.stretches import stretches_of
    from nlp_rnn.tasks.anomaly_values.predictions import decode
    from nlp_rnn.tasks.inputs import records_of

    records = given.select([0]) if isinstance(given, Records) else records_of(run.task.input, [given])
    found = decode(run.infer(records, options), records, run.assets, options)
    steps, series, begin = found.steps[0], records[0]["history"], records[0].get("begin", 0)
    middle = run.assets.judge["levels"].index(0.5)
    expected, low, high = (steps.forecast(place) for place in (middle, 0, -1))
    most = np.argsort(-found.rarities[0].sum(0).max(0), kind="stable")[:_MOST_LINES].tolist()
    names = run.assets.judge["targets"]
    lines = [Line(names[i], steps.values[:, i], expected[:, i], low[:, i], high[:, i]) for i in sorted(most)]
    times = series.times[begin:].astype("datetime64[s]") if series.has_times else series.times[begin:]
    labels = records[0].get("labels")
    stretches = [] if labels is None else stretches_of(labels[begin:])
    alarms = np.flatnonzero(found.alarms[0]).tolist()
    scores = np.where(steps.judged, found.scores[0], np.nan)
    limit = found.reference.threshold(options.budget) if options.threshold == "budget" else float("inf")
    title = f"{series.name or 'signal'}: {len(alarms) or 'no'} alarm{'s' * (len(alarms) != 1)}"
    return SignalPicture(title, times, lines, scores, limit, alarms, stretches)
