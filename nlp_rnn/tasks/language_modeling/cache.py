"""The neural cache of a language model: what it is asked for, and how its settings are fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlp_rnn.config.values import override
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import Features, Metrics, Outputs
from nlp_rnn.tasks.language_modeling.settings import CacheConfig, Config

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun

_FIRST, _LAST = -8, 4  # powers of 2 between which the sharpness is sought


def options(config: Config) -> CacheConfig:
    """What the configuration says, but none where it is not fitted yet."""
    return config.search if is_fitted(config.search) else CacheConfig()


def is_fitted(search: CacheConfig) -> bool:
    """Whether weight and sharpness are known."""
    return bool(search.cache_weight and search.cache_sharpness)


def infer(model: Any, features: Features, options: CacheConfig) -> Outputs:
    """Nats of the targets, with the cache too where there is one."""
    if options.cache and not is_fitted(options):
        raise InputError(
            "A cache needs --cache_weight and --cache_sharpness (0.1 and 0.1 are a beginning); training fits them with "
            "--search.cache."
        )
    if not options.cache:
        return model.infer(features)
    return model.infer_with_cache(features, options.cache, options.cache_weight, options.cache_sharpness)


def nats_of(outputs: Outputs) -> Any:
    """-log p of the tokens: those with the cache, where there is one."""
    return outputs["cached"] if "cached" in outputs else outputs["nats"]


def calibrate(run: AnyRun, records: Records) -> Metrics | None:
    """Fits the cache's weight and sharpness, if there is a cache whose settings are not given: by steps of 2 in the
    sharpness, each with the best weight, for as long as the text becomes likelier."""
    import numpy as np

    from nlp_rnn.display.console import console
    from nlp_rnn.metrics.language import perplexity

    search = run.config.search
    if not search.cache or is_fitted(search):
        return None
    found: dict[int, tuple[float, float]] = {}
    plain = 0.0

    def at(power: int) -> float:
        nonlocal plain
        if power not in found:
            outputs = run.infer(records, CacheConfig(search.cache, 0.1, 2.0**power))
            nats, recalled = (np.concatenate(outputs[name]).astype(float) for name in ("nats", "recalled"))
            found[power], plain = best_weight(nats, recalled), float(nats.mean())
        return found[power][0]

    power = min((-4, -2, 0), key=at)
    for step in (1, -1):
        while _FIRST <= power + step <= _LAST and at(power + step) < at(power):
            power += step
    mean, weight = found[power]
    if not weight:
        console.warn(f"The cache of {search.cache:,} states makes the validation text no likelier; it is left out.")
        run.config = override(run.config, {"search": {"cache": 0}})
        return None
    run.config = override(run.config, {"search": {"cache_weight": weight, "cache_sharpness": 2.0**power}})
    console.print(
        f"A cache of {search.cache:,} states: validation perplexity {perplexity(plain):.1f} → {perplexity(mean):.1f}, "
        f"fitted there (weight {weight:.2f}, sharpness {2.0**power:g})."
    )
    return None


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
