"""Forecasters: shapes, scales, what they may and may not depend on, saving, and what they learn."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import pinball
from nlp_rnn.models import DeepAR, EncoderDecoder, SegmentForecaster
from tests.conftest import slow

KINDS = {
    "segments": lambda **o: SegmentForecaster(2, 12, 5, segment=4, units=8, **o),
    "encoder-decoder": lambda **o: EncoderDecoder(2, 12, 5, units=8, **o),
    "deepar": lambda **o: DeepAR(2, 12, 5, units=8, **o),
}
FULL = {"step": "h", "cycles": ["day"], "known": 3}


def features(batch=3, known=True, past=False, seed=0):
    rng = np.random.default_rng(seed)
    found = {"history": rng.normal(3, 2, (batch, 12, 2)), "time": rng.integers(0, 10**9, batch) * 3600}
    if known:
        found["known"] = rng.normal(size=(batch, 17, 3))
    if past:
        found["past"] = rng.normal(size=(batch, 12, 2))
    return {n: tf.constant(v, tf.int64 if n == "time" else tf.float32) for n, v in found.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("scaling", "cell"), [("standard", "gru"), ("window", "lstm"), slow("standard", "lstm"), slow("window", "gru")]
)
def test_quantiles_increase_and_a_saved_model_gives_the_same(kind, scaling, cell, tmp_path):
    past = 0 if kind == "deepar" else 2
    model = KINDS[kind](scaling=scaling, cell=cell, past=past, **FULL)
    given = features(past=bool(past))
    found = model.infer(given)["quantiles"].numpy()
    assert found.shape == (3, 5, 2, 7)
    assert (np.diff(found, axis=-1) >= 0).all()
    model.set_scales({"values_mean": [3.0, 3.0], "values_spread": [2.0, 2.0]})
    found = model.infer(given)["quantiles"].numpy()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.infer(given)["quantiles"], found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_depends_on_its_row_alone(kind):
    model, given = KINDS[kind](**FULL), features(6)
    together = model.infer(given)["quantiles"].numpy()
    for row in (0, 5):
        alone = model.infer({name: value[row : row + 1] for name, value in given.items()})["quantiles"].numpy()
        np.testing.assert_allclose(alone[0], together[row], rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(model.infer(given)["quantiles"], together)  # drawn with the same numbers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtract_last", [True, False])
def test_window_scaling_follows_the_size_of_a_series(kind, subtract_last):
    """y → a·y + b gives forecasts a·f + b."""
    model, given = KINDS[kind](scaling="window", subtract_last=subtract_last), features(known=False)
    base = model.infer(given)["quantiles"].numpy()
    moved = model.infer({**given, "history": given["history"] * 1000 + 70})["quantiles"].numpy()
    np.testing.assert_allclose(moved, base * 1000 + 70, rtol=1e-3, atol=1.0)


@pytest.mark.parametrize("kind", ["segments", "encoder-decoder"])
def test_the_future_is_read_where_it_is_known(kind):
    model, given = KINDS[kind](**FULL), features()
    base = model.infer(given)["quantiles"].numpy()
    changed = given["known"].numpy()
    changed[:, -1] += 5
    assert np.abs(model.infer({**given, "known": changed})["quantiles"].numpy() - base).max() > 1e-3
    later = model.infer({**given, "time": given["time"] + 3600 * 7})["quantiles"].numpy()
    assert np.abs(later - base).max() > 1e-3


def test_deepar_does_not_see_the_value_that_it_predicts():
    model = KINDS["deepar"](**FULL)
    given = {**features(), "following": tf.random.stateless_normal([3, 5, 2], [1, 2])}
    base = model(given).numpy()
    for step in range(5):
        changed = given["following"].numpy()
        changed[:, step] += 3
        found = np.abs(model({**given, "following": changed}).numpy() - base).max((0, 2, 3))
        assert (found[: step + 1] == 0).all()
        assert step == 4 or (found[step + 1 :] > 0).all()


@pytest.mark.parametrize("distribution", ["student-t", "negative-binomial"])
def test_deepar_goes_on_value_by_value_as_if_it_had_read_them_at_once(distribution):
    options = {"units": 8, "known": 2, "distribution": distribution, "subtract_last": False}
    short, long = DeepAR(2, 12, 5, **options), DeepAR(2, 17, 5, **options)
    for model in (short, long):
        model.build()
    long.set_weights(short.get_weights())
    generator = np.random.default_rng(0)
    series = tf.constant(generator.poisson(5, (3, 17, 2)), tf.float32)
    if distribution == "negative-binomial":  # its scale is the mean of the history, which must be that of both
        series = tf.concat([series[:, :5] * 0 + 4, series[:, 5:12] * 0 + 4, series[:, 12:] * 0 + 4], 1)
    known = tf.constant(generator.normal(size=(3, 22, 2)), tf.float32)
    given = {"history": series[:, :12], "known": known[:, :17]}
    raw = short({**given, "following": series[:, 12:]})
    shift, spread = short.scale_of(given["history"])
    expected = short._errors_of(series[:, 12:], raw, shift, spread)
    memory = short.remember(given)
    for step in range(5):
        scaled = short.covariates_of({"known": known[:, 12 + step : 13 + step]})
        nats, memory = short.observe(series[:, 12 + step], scaled[:, 0], memory)
        np.testing.assert_allclose(nats, expected[:, step], rtol=1e-4, atol=1e-5)
    ahead = short.covariates_of({"known": known[:, 17:]})
    found = short.quantiles_after(memory, ahead, 5)
    np.testing.assert_allclose(
        found, long.infer({"history": series, "known": known})["quantiles"], rtol=1e-4, atol=1e-4
    )
    missing, after = short.observe(series[:, 0] * np.nan, ahead[:, 0], memory)
    assert not missing.numpy().any()
    assert np.isfinite(after.last.numpy()).all()


def test_channels_are_read_by_themselves():
    for kind in ("segments", "deepar"):
        model, given = KINDS[kind](), features(known=False)
        base = model.infer(given)["quantiles"].numpy()
        changed = given["history"].numpy()
        changed[..., 1] += np.random.default_rng(0).normal(size=(3, 12))
        found = model.infer({"history": changed})["quantiles"].numpy()
        np.testing.assert_allclose(found[:, :, 0], base[:, :, 0], rtol=1e-5, atol=1e-5)
        assert np.abs(found[:, :, 1] - base[:, :, 1]).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_neither_learned_nor_counted(kind):
    model, given = KINDS[kind](), features(known=False)
    given["following"] = tf.ones([3, 5, 2])
    target = np.random.default_rng(0).normal(3, 2, (3, 5, 2)).astype(np.float32)
    target[1:] = np.nan
    with tf.GradientTape() as tape:
        raw = model(given, training=True)
        loss = model.compute_loss(given, tf.constant(target), raw)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)
    alone = {name: value[:1] for name, value in given.items()}
    expected = model.compute_loss(alone, tf.constant(target[:1]), raw[:1])
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_the_loss_is_the_pinball_loss_of_scaled_values():
    model, given = KINDS["segments"](), features(known=False)
    model.build()
    model.set_scales({"values_mean": [3.0, 1.0], "values_spread": [2.0, 4.0]})
    target = np.random.default_rng(0).normal(3, 2, (3, 5, 2)).astype(np.float32)
    raw = model(given)
    scaled = (target - given["history"].numpy()[:, -1:]) / np.array([2.0, 4.0], np.float32)
    expected = pinball(tf.constant(scaled), raw, model.levels).numpy().mean()
    assert float(model.compute_loss(given, tf.constant(target), raw)) == pytest.approx(float(expected), rel=1e-5)


def test_values_that_are_never_negative_stay_so():
    for kind in KINDS:
        model = KINDS[kind]()
        model.build()
        model.set_scales({"values_floor": [0.0, -3e38], "values_mean": [0.0, 0.0], "values_spread": [50.0, 50.0]})
        found = model.infer(features(known=False))["quantiles"].numpy()
        assert found[:, :, 0].min() == 0
        assert found[:, :, 1].min() < 0


@pytest.mark.parametrize("kind", ["segments", slow("encoder-decoder")])
@pytest.mark.slow  # trainings
def test_fit_learns_a_wave(kind):
    time = np.arange(600)
    wave = np.stack([np.sin(time * 2 * np.pi / 12), np.cos(time * 2 * np.pi / 12) * 30 + 100], -1).astype(np.float32)
    origins = np.arange(12, 595)
    x, y = wave[origins[:, None] + np.arange(-12, 0)], wave[origins[:, None] + np.arange(5)]
    model = KINDS[kind]()
    model.build()
    model.set_scales({"values_mean": wave.mean(0), "values_spread": wave.std(0)})
    model.compile(keras.optimizers.Adam(0.02))
    model.fit({"history": x}, y, epochs=20, batch_size=64, verbose=0)
    found = model.infer({"history": tf.constant(x)})["quantiles"].numpy()[..., 3]
    assert (np.abs(found - y) / wave.std(0)).mean() < 0.15


def test_counts_are_forecast_as_counts():
    model = DeepAR(1, 8, 4, units=8, distribution="negative-binomial")
    found = model.infer({"history": tf.constant(np.random.default_rng(0).poisson(20, (5, 8, 1)), tf.float32)})
    values = found["quantiles"].numpy()
    np.testing.assert_array_equal(values, np.round(values))
    assert values.min() >= 0
    longer = model.forecast({"history": tf.ones([2, 8, 1])}, 9, 50)["quantiles"]
    assert longer.shape[1] == 9


@pytest.mark.parametrize("cell", ["gru", "qrnn", "transformer"])
@pytest.mark.parametrize("kind", [EncoderDecoder, SegmentForecaster])
@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize(("normalization", "feedforward"), [("none", 0), ("rms", 0), ("none", 16), ("layer", 16)])
def test_every_weight_that_is_trained_counts(cell, kind, horizon, normalization, feedforward):
    options = {"units": 8, "layers": 2, "residual": True, "normalization": normalization, "feedforward": feedforward}
    model = kind(2, 12, horizon, cell=cell, **options, **({"segment": 4} if kind is SegmentForecaster else {}))
    model.build()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model({"history": tf.random.stateless_normal((4, 12, 2), (1, 2))}) ** 2)
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_variables])
    without = [
        weight.path
        for weight, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None or not np.abs(tf.convert_to_tensor(gradient)).max()
    ]
    assert without == []


def test_models_saved_before_decoders_read_outputs_are_as_they_were():
    options = {"units": 8, "normalization": "rms"}
    config = EncoderDecoder(2, 12, 5, **options).get_config()
    assert EncoderDecoder.from_config(config).reads_output
    del config["reads_output"]
    assert not EncoderDecoder.from_config(config).reads_output
