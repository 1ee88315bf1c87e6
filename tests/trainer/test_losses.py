import numpy as np

from trainer.arrays import Memory
from trainer.losses import cross_entropy, score, targets
from trainer.tape import Tape, Variable


def ran(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient, summed losses and right answers for scores (R, K, N) and labels (R, N)."""
    replicates, _, rows = scores.shape
    nothing = np.zeros((replicates, 0), scores.dtype)
    tape = Tape(Memory(), variables={"": Variable(nothing, nothing)}, running={}, training=True)
    target, shifted = np.empty_like(scores), np.empty_like(scores)
    sums = np.empty((replicates, 1, rows), scores.dtype)
    targets(labels, 1 / rows, target)
    gradient = cross_entropy(tape, scores, target, shifted, sums)
    tape.run()
    return gradient, *score(labels, target, shifted, sums)


def test_against_the_plain_formula() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(0, 3, (2, 5, 7)), generator.integers(0, 5, (2, 7))
    odds = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    hot = np.eye(5)[labels].swapaxes(1, 2)
    gradient, losses, correct = ran(scores, labels)
    np.testing.assert_allclose(gradient, (odds - hot) / 7, atol=1e-15)
    np.testing.assert_allclose(losses, -np.log((odds * hot).sum(axis=1)).sum(axis=1))
    np.testing.assert_array_equal(correct, (scores.argmax(axis=1) == labels).sum(axis=1))


def test_huge_scores_stay_finite() -> None:
    scores = np.array([[[1e4, -1e4], [-1e4, 1e4]]], np.float32)
    gradient, losses, _ = ran(scores, np.array([[1, 1]]))
    np.testing.assert_allclose(gradient, [[[0.5, 0.0], [-0.5, 0.0]]])
    np.testing.assert_allclose(losses, [2e4])


def test_equal_scores_count_for_the_first_class_alone() -> None:
    _, _, correct = ran(np.zeros((1, 4, 8)), np.arange(8)[None] % 4)
    np.testing.assert_array_equal(correct, [2])
