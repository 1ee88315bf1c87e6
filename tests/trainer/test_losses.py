import numpy as np
import pytest

from tests.trainer.conftest import config
from tests.trainer.test_fusion import check_loops
from trainer.arrays import Memory
from trainer.layers import against_zero
from trainer.losses import LOSSES, cross_entropy, score, targets
from trainer.tape import Tape, Variable


def ran(
    scores: np.ndarray, labels: np.ndarray, smoothing: float = 0.0, loss: str = "cross_entropy"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient, summed losses and right answers for scores (R, K, N) and labels (R, N)."""
    replicates, _, rows = scores.shape
    nothing = np.zeros((replicates, 0), scores.dtype)
    tape = Tape(Memory(), variables={"": Variable(nothing, nothing)}, running={}, training=True)
    target, shifted = np.empty_like(scores), np.empty_like(scores)
    sums = np.empty((replicates, 1, rows), scores.dtype)
    targets(labels, 1 / rows, target)
    gradient = LOSSES[loss](tape, scores, target, shifted, sums, smoothing=smoothing)
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


def test_smoothed_labels() -> None:
    """They change the gradient, not the loss that is reported."""
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(0, 3, (2, 5, 7)), generator.integers(0, 5, (2, 7))
    odds = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    smooth = 0.7 * np.eye(5)[labels].swapaxes(1, 2) + 0.3 / 5
    gradient, losses, correct = ran(scores, labels, 0.3)
    np.testing.assert_allclose(gradient, (odds - smooth) / 7, atol=1e-15)
    _, plain, same = ran(scores, labels)
    np.testing.assert_array_equal(losses, plain)
    np.testing.assert_array_equal(correct, same)


def test_the_squared_error_has_a_gradient_of_its_own_and_reports_the_same() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(0, 3, (2, 5, 7)), generator.integers(0, 5, (2, 7))
    odds = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    gradient, losses, correct = ran(scores, labels, 0.3, "squared_error")
    for replicate, row in np.ndindex(2, 7):
        p = odds[replicate, :, row]
        error = p - 0.7 * np.eye(5)[labels[replicate, row]] - 0.3 / 5
        jacobian = np.diag(p) - np.outer(p, p)
        np.testing.assert_allclose(
            gradient[replicate, :, row], jacobian @ (2 * error) / 7, atol=1e-15
        )
    _, plain, same = ran(scores, labels)
    np.testing.assert_array_equal(losses, plain)
    np.testing.assert_array_equal(correct, same)


def test_two_classes_against_zero_are_a_sigmoid() -> None:
    """Scores, losses and gradients of one sigmoid with binary cross-entropy."""
    generator = np.random.default_rng(0)
    z, y = generator.normal(0, 5, (2, 9, 1)), generator.integers(0, 2, (2, 9))
    nothing = np.zeros((2, 0))
    tape = Tape(Memory(), variables={"": Variable(nothing, nothing)}, running={}, training=True)
    scores, backward = against_zero().write(tape, z)
    scores = scores.swapaxes(1, 2)
    target, shifted, sums = np.empty((2, 2, 9)), np.empty((2, 2, 9)), np.empty((2, 1, 9))
    targets(y, 1 / 9, target)
    dz = backward(cross_entropy(tape, scores, target, shifted, sums).swapaxes(1, 2))
    tape.run()
    p = 1 / (1 + np.exp(-z[:, :, 0]))
    np.testing.assert_allclose(dz[:, :, 0], (p - y) / 9, atol=1e-15)
    losses, correct = score(y, target, shifted, sums)
    np.testing.assert_allclose(losses, -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1))
    np.testing.assert_array_equal(correct, ((p > 0.5) == y).sum(axis=1))


def test_huge_scores_stay_finite() -> None:
    scores = np.array([[[1e4, -1e4], [-1e4, 1e4]]], np.float32)
    gradient, losses, _ = ran(scores, np.array([[1, 1]]))
    np.testing.assert_allclose(gradient, [[[0.5, 0.0], [-0.5, 0.0]]])
    np.testing.assert_allclose(losses, [2e4])


def test_equal_scores_count_for_the_first_class_alone() -> None:
    _, _, correct = ran(np.zeros((1, 4, 8)), np.arange(8)[None] % 4)
    np.testing.assert_array_equal(correct, [2])


def test_compiled_loops_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    check_loops(config(loss="squared_error", label_smoothing=0.1, batch_size=4), monkeypatch)
