import itertools

import pytest

from trainer.streams import Purpose, generator


def test_same_key_same_numbers() -> None:
    one, other = (generator(seed=1, purpose=Purpose.INIT, replicate=2, epoch=3) for _ in range(2))
    assert one.random() == other.random()


def test_every_part_of_the_key_counts() -> None:
    keys = itertools.product((0, 1), (Purpose.ORDER, Purpose.DROPOUT), (0, 1), (0, 1))
    firsts = {generator(seed=s, purpose=p, replicate=r, epoch=e).random() for s, p, r, e in keys}
    assert len(firsts) == 16


def test_the_seed_cannot_be_left_out() -> None:
    with pytest.raises(TypeError):
        generator(purpose=Purpose.INIT)  # type: ignore[call-arg]
