from __future__ import annotations

from overopt.planning.gpus import fitting_gpus, in_words

GIB = 1024.0


def test_micro_batches_shrink_until_they_fit() -> None:
    """Of 80 GB 72 GiB can be used, of 48 43.2, of 24 21.6, of 16 14.4; 20 GiB stay, 32 are for 16,384 tokens."""
    memory = {"weights": 10 * GIB, "optimizer": 8 * GIB, "gradients": 2 * GIB, "activations": 32 * GIB}
    fits = fitting_gpus(memory, 2 * GIB, 16_384, least=400)
    assert fits["h100"] == fits["a100"] == fits["h200"] == 16_384
    assert fits["l40s"] == 8_192  # 23.2 of 32 GiB
    assert fits["a10"] == 512  # 1.6 GiB are 819 tokens
    assert fits["t4"] == 0
    assert fitting_gpus(memory, 2 * GIB, 16_384, least=600)["a10"] == 0  # a prompt with its completions is not divided


def test_a_model_that_cannot_be_loaded_does_not_fit() -> None:
    memory = {"weights": 10 * GIB, "optimizer": 0.0, "activations": 1 * GIB}
    assert fitting_gpus(memory, 0.0, 64, least=1)["l4"] == 64
    assert fitting_gpus(memory, 0.0, 64, least=1, loading=22 * GIB)["l4"] == 0  # of 21.6
    assert fitting_gpus(memory, 0.0, 64, least=1, loading=22 * GIB)["l40s"] == 64


def test_gradients_stay_where_another_phase_is_the_largest() -> None:
    """Sampling holds no gradients, but the update does: they are not what shrinks."""
    memory = {"weights": 20 * GIB, "optimizer": 0.0, "sampling": 30 * GIB}
    assert fitting_gpus(memory, 24 * GIB, 1024, least=1)["l40s"] == 0  # 44 of 43.2
    assert fitting_gpus(memory, 20 * GIB, 1024, least=1)["l40s"] == 256  # 3.2 of 10


def test_in_words() -> None:
    assert in_words({"h100": 9000, "a10": 2048, "l4": 2048, "t4": 0}) == (
        "fits h100; with micro-batches of 2,048 tokens a10, l4; not t4"
    )
    assert in_words({"h100": 0, "t4": 0}) == "fits none of h100, t4"
    assert in_words({"h100": 7}) == "fits h100"
