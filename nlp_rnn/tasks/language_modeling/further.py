"""What a language model makes of what it has just read, by a neural cache and by dynamic evaluation, and how the
settings of both are fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Features, Metrics, Outputs
from nlp_rnn.tasks.language_modeling.settings import Config, SearchConfig

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun

_FIRST, _LAST = -8, 4  # powers of 2 between which the sharpness of a cache is sought
_RATE, _DECAYS = 1e-4, (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
_FITTED_ON = 10_000  # tokens
_PIECES, _SEGMENTS = 40, 20  # of the training text, by which the sizes of gradients are known


def options(config: Config) -> SearchConfig:
    """What the configuration says, but for what is not fitted yet."""
    search = config.search
    if search.cache and not (search.cache_weight and search.cache_sharpness):
        search = replace(search, cache=0, cache_weight=0.0, cache_sharpness=0.0)
    if search.dynamic and not search.dynamic_rate:
        search = replace(search, dynamic=0, dynamic_decay=0.0)
    return search


def infer(model: keras.Model, features: Features, options: SearchConfig) -> Outputs:
    """Nats of the targets; with a cache and of a model that learns from what it reads too, where they are asked for."""
    from nlp_rnn.models.dynamic import Adaptation
    from nlp_rnn.models.neural_cache import Cache

    if options.cache and not (options.cache_weight and options.cache_sharpness):
        raise InputError(
            "A cache needs --cache_weight and --cache_sharpness (0.1 and 0.1 are a beginning); training fits them with "
            "--search.cache."
        )
    if not options.dynamic and options.dynamic_rate and not getattr(model, "adapts", False):
        raise InputError("--dynamic_rate does nothing without --dynamic.")
    if options.dynamic and not getattr(model, "adapts", False):
        raise InputError(
            "This model does not know the sizes of its gradients, which dynamic evaluation needs: train with "
            "--search.dynamic."
        )
    if options.dynamic and not options.dynamic_rate:
        raise InputError("Dynamic evaluation needs --dynamic_rate (0.0001 is a beginning); training fits it.")
    if not (options.cache or options.dynamic):
        return model.infer(features)
    cache = Cache(options.cache, options.cache_weight, options.cache_sharpness) if options.cache else None
    how = Adaptation(options.dynamic, options.dynamic_rate, options.dynamic_decay) if options.dynamic else None
    return model.infer_further(features, cache, how)


def nats_of(outputs: Outputs) -> tf.Tensor:
    """-log p of the tokens: by all that is asked for."""
    return next(outputs[name] for name in ("cached", "adapted", "nats") if name in outputs)


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Fits the settings of dynamic evaluation and of the cache that are asked for and not given."""
    if run.config.search.dynamic:
        run.model.learner.know_gradients(_pieces(run), run.config.search.dynamic)
        if not run.config.search.dynamic_rate:
            _fit_dynamic(run, _some(run, records))
    search = run.config.search
    if search.cache and not (search.cache_weight and search.cache_sharpness):
        _fit_cache(run, records)
    return None


def _pieces(run: AnyRun) -> Iterator[tf.Tensor]:
    """Parts of the training text, spread over all of it."""
    import numpy as np
    import tensorflow as tf

    from nlp_rnn.tasks.language_modeling.data import encoded

    records = run.task.read(run.config, "train")
    assert records is not None
    ids = encoded(run.config, run.assets, records)[0]
    length = min(_SEGMENTS * run.config.search.dynamic, len(ids) - 1)
    count = min(_PIECES, max((len(ids) - 1) // length, 1))
    for begin in np.linspace(0, len(ids) - length - 1, count).astype(int):
        yield tf.constant(ids[None, begin : begin + length + 1])


def _some(run: AnyRun, records: Records) -> Records:
    """As many records as have enough tokens."""
    import numpy as np

    from nlp_rnn.tasks.language_modeling.data import encoded

    lengths = encoded(run.config, run.assets, records)[1]
    count = int(np.searchsorted(np.cumsum(lengths), _FITTED_ON)) + 1
    return records if count >= len(records) else records.select(range(count))


def _climb(at: Callable[[int], float], start: int, low: int, high: int) -> int:
    """The place of the least value, step by step from one for as long as it becomes less."""
    best = start
    for step in (1, -1):
        while low <= best + step <= high and at(best + step) < at(best):
            best += step
    return best


def _fit_dynamic(run: AnyRun, records: Records) -> None:
    """By steps of 2 in the rate, then in the decay, for as long as the text becomes likelier."""
    import numpy as np

    from nlp_rnn.display.console import console
    from nlp_rnn.metrics.language import perplexity

    steps = run.config.search.dynamic
    found: dict[tuple[int, int], float] = {}
    plain = 0.0

    def at(power: int, place: int) -> float:
        nonlocal plain
        if (power, place) not in found:
            how = SearchConfig(dynamic=steps, dynamic_rate=_RATE * 2.0**power, dynamic_decay=_DECAYS[place])
            outputs = run.infer(records, how)
            adapted, nats = (np.concatenate(outputs[name]).mean(dtype=float) for name in ("adapted", "nats"))
            found[power, place], plain = float(adapted) if np.isfinite(adapted) else np.inf, float(nats)
        return found[power, place]

    power = _climb(lambda power: at(power, 0), 0, -6, 6)
    place = _climb(lambda place: at(power, place), 0, 0, len(_DECAYS) - 1)
    if at(power, place) >= plain:
        console.warn("Dynamic evaluation makes the validation text no likelier; it is left out.")
        run.config = override(run.config, {"search": {"dynamic": 0}})
        return
    rate, decay = _RATE * 2.0**power, _DECAYS[place]
    run.config = override(run.config, {"search": {"dynamic_rate": rate, "dynamic_decay": decay}})
    console.print(
        f"Dynamic evaluation: perplexity {perplexity(plain):.1f} → {perplexity(at(power, place)):.1f} on the beginning "
        f"of the validation text, fitted there (rate {rate:g}, decay {decay:g})."
    )


def _fit_cache(run: AnyRun, records: Records) -> None:
    """By steps of 2 in the sharpness, each with the best weight, for as long as the text becomes likelier."""
    import numpy as np

    from nlp_rnn.display.console import console
    from nlp_rnn.metrics.language import perplexity

    search = options(run.config)
    size = run.config.search.cache
    found: dict[int, tuple[float, float]] = {}
    plain = 0.0

    def at(power: int) -> float:
        nonlocal plain
        if power not in found:
            how = replace(search, cache=size, cache_weight=0.1, cache_sharpness=2.0**power)
            outputs = run.infer(records, how)
            before = outputs["adapted" if "adapted" in outputs else "nats"]
            nats, recalled = (np.concatenate(part).astype(float) for part in (before, outputs["recalled"]))
            found[power], plain = best_weight(nats, recalled), float(nats.mean())
        return found[power][0]

    power = _climb(at, min((-4, -2, 0), key=at), _FIRST, _LAST)
    mean, weight = found[power]
    if not weight:
        console.warn(f"The cache of {size:,} states makes the validation text no likelier; it is left out.")
        run.config = override(run.config, {"search": {"cache": 0}})
        return
    run.config = override(run.config, {"search": {"cache_weight": weight, "cache_sharpness": 2.0**power}})
    console.print(
        f"A cache of {size:,} states: validation perplexity {perplexity(plain):.1f} → {perplexity(mean):.1f}, "
        f"fitted there (weight {weight:.2f}, sharpness {2.0**power:g})."
    )


def best_weight(nats: np.ndarray, recalled: np.ndarray) -> tuple[float, float]:
    """The share of the cache that makes a text likeliest, by bisecting the slope of its mean -log p, which is convex in
    the share: → that mean, and the share.

    Args:
        nats: -log p of the model, of each token.
        recalled: p of the cache; below 0 where it is empty.
    """
    import numpy as np

    p = np.maximum(np.exp(-nats), 1e-300)
    gain = np.where(recalled < 0, 0.0, recalled - p)
    low, high = 0.0, 0.99
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if (gain / (p + middle * gain)).sum() > 0 else (low, middle)
    weight = round(low, 3)
    return float(-np.log(p + weight * gain).mean()), weight
