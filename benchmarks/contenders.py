"""Who takes part. Each contender prepares a piece of work and returns what is to be timed.

A contender is `prepare(work, part)`, part being `step` (epochs of training steps alone) or `trial`
(from nothing: two links of training with validation after each epoch, the state handed over).
"""

import itertools
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from benchmarks.work import Work
from trainer import group, kernels
from trainer.device import Device, opened
from trainer.group import Group, Rows
from trainer.network import Layout, network
from trainer.optimisers import OPTIMISERS
from trainer.streams import Purpose, generator
from trainer.training import train

Run = Callable[[], Any]
RATE = 1e-3

kernels.START_SECONDS = 0.0  # compared is what a worker does once it has its loops


def ours(work: Work, part: str, device: Device | None = None) -> Run:
    """This project's trainer."""
    config, data = work.config(), work.data()
    if part == "trial":
        advance = partial(train, config, data, seed=0, replicates=work.replicates, device=device)

        def trial() -> None:
            advance(state=advance(state=None, until=work.half).state, until=2 * work.half)

        return trial
    made, count = data.folds[0], work.replicates
    net = network(config.model, inputs=work.widths[0], classes=work.widths[-1])
    streams = [generator(seed=0, purpose=Purpose.INIT, replicate=each) for each in range(count)]
    arrays = {
        "parameters": Layout(net.learned).draw(streams, np.float32),
        "running": Layout(net.statistics).draw(streams, np.float32),
    }
    for slot in OPTIMISERS["adam"].slots:
        arrays[slot] = np.zeros_like(arrays["parameters"])
    there = device.stream if device else nullcontext()
    with there:
        if device is not None:
            arrays = {name: device.asarray(array) for name, array in arrays.items()}
        trained = Group(
            net,
            config.training,
            config.model.batch_norm,
            Rows((made.x_train,) * count, (made.y_train,) * count),
            arrays,
            replicates=range(count),
            seed=0,
            epochs=1_000,
            device=device,
        )
    epoch, rates = 0, np.ones((trained.steps, 1))

    def steps() -> None:
        nonlocal epoch
        with np.errstate(all="ignore"), there:
            for _ in range(work.epochs):
                epoch += 1
                trained.train(epoch, rates)

    return steps


def numpy_alone(work: Work, part: str) -> Run:
    """Ours without compiled loops."""
    group.FUSION_COST = math.inf
    return ours(work, part)


def floor(work: Work, part: str) -> Run:
    """The matrix products of a step alone; the gradient by the net's input is not wanted."""
    del part
    generator = np.random.default_rng(0)
    products: list[tuple[Any, Any, Any]] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(work.widths)):
        x, w, z, dx, dw = (
            generator.standard_normal(shape, dtype=np.float32)
            for shape in (
                (work.batch, inputs),
                (inputs, outputs),
                (work.batch, outputs),
                (work.batch, inputs),
                (inputs, outputs),
            )
        )
        products += [(x, w, z), (x.T, z, dw)] + ([(z, w.T, dx)] if index else [])

    def steps() -> None:
        for _ in range(work.steps("step")):
            for left, right, out in products:
                np.matmul(left, right, out=out)

    return steps


def ours_on_gpu(work: Work, part: str) -> Run:
    """This project's trainer on the GPU."""
    return ours(work, part, opened())


def torch_eager(work: Work, part: str) -> Run:
    """PyTorch with the fused Adam."""
    return _torch(work, part, compiled=False)


def torch_on_gpu(work: Work, part: str) -> Run:
    """PyTorch on the GPU, its data there."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU: is this its build for CUDA?")
    run = _torch(work, part, compiled=False, place="cuda")

    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited


def torch_compiled(work: Work, part: str) -> Run:
    """The same, the net compiled."""
    return _torch(work, part, compiled=True)


def _torch(work: Work, part: str, *, compiled: bool, place: str = "cpu") -> Run:
    import torch
    from torch import nn

    class Maxout(nn.Module):  # type: ignore[misc]
        def forward(self, z: Any) -> Any:
            return z.unflatten(-1, (2, -1)).amax(dim=-2)

    def activation(units: int) -> nn.Module:
        made: dict[str, Callable[[], nn.Module]] = {
            "sigmoid": nn.Sigmoid,
            "tanh": nn.Tanh,
            "relu": nn.ReLU,
            "leaky_relu": nn.LeakyReLU,
            "prelu": lambda: nn.PReLU(units),
            "elu": nn.ELU,
            "maxout": Maxout,
            "selu": nn.SELU,
            "gelu": lambda: nn.GELU(approximate="tanh"),
            "silu": nn.SiLU,
            "softplus": nn.Softplus,
            "softsign": nn.Softsign,
            "identity": nn.Identity,
        }
        return made[work.activation]()

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        layers: list[nn.Module] = []
        widths, pieces = work.widths, 2 if work.activation == "maxout" else 1
        for inputs, outputs in itertools.pairwise(widths[:-1]):
            layers.append(nn.Linear(inputs, outputs * pieces, bias=not work.regular))
            if work.regular:
                layers.append(nn.BatchNorm1d(outputs * pieces))
            layers.append(activation(outputs))
            if work.regular:
                layers.append(nn.Dropout(0.3))
        net = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1])).to(place)
        return net, torch.optim.Adam(net.parameters(), lr=RATE, fused=True)

    made = work.data().folds[0]
    arrays = (made.x_train, made.y_train, made.x_val, made.y_val)
    x, y, x_val, y_val = (torch.from_numpy(each).to(place) for each in arrays)
    loss = nn.CrossEntropyLoss()

    def epoch(net: Any, optimizer: torch.optim.Optimizer) -> Any:
        order, total = torch.randperm(len(y), device=place), torch.zeros((), device=place)
        for chosen in order.split(work.batch):
            optimizer.zero_grad(set_to_none=True)
            value = loss(net(x[chosen]), y[chosen])
            value.backward()
            optimizer.step()
            total += value.detach()
        return total

    if part == "step":
        net, optimizer = build()
        run: Any = torch.compile(net) if compiled else net

        def steps() -> None:
            for _ in range(work.epochs):
                epoch(run, optimizer)

        return steps

    def link(state: Any) -> Any:
        net, optimizer = build()
        if state is not None:
            net.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(work.half):
            net.train()
            epoch(net, optimizer)
            net.eval()
            with torch.no_grad():
                scores = net(x_val)
                float(loss(scores, y_val)), float((scores.argmax(1) == y_val).float().mean())
        kept = {name: value.clone() for name, value in net.state_dict().items()}
        return kept, optimizer.state_dict()

    return lambda: link(link(None))


def sklearn(work: Work, part: str) -> Run:
    """scikit-learn's MLPClassifier with Adam."""
    del part
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)
    made = work.data().folds[0]
    net = MLPClassifier(
        work.widths[1:-1],
        batch_size=work.batch,
        learning_rate_init=RATE,
        alpha=0.0,
        max_iter=work.epochs,
        n_iter_no_change=work.epochs + 1,
        tol=0.0,
        random_state=0,
    )
    return lambda: net.fit(made.x_train, made.y_train)


def jax(work: Work, part: str) -> Run:
    """JAX: one jitted step, plain nets only."""
    del part
    import jax as library
    import jax.numpy as jnp

    made = work.data().folds[0]
    x, y = jnp.asarray(made.x_train), jnp.asarray(made.y_train)
    generator = np.random.default_rng(0)
    theta: Any = [
        (
            jnp.asarray(generator.normal(0, np.sqrt(2 / n), (n, m)), jnp.float32),
            jnp.zeros(m, jnp.float32),
        )
        for n, m in itertools.pairwise(work.widths)
    ]
    zeros: Any = library.tree.map(jnp.zeros_like, theta)

    def loss(theta: Any, x: Any, y: Any) -> Any:
        for w, b in theta[:-1]:
            x = jnp.maximum(x @ w + b, 0)
        w, b = theta[-1]
        logs = library.nn.log_softmax(x @ w + b)
        return -jnp.take_along_axis(logs, y[:, None], axis=1).mean()

    @library.jit  # type: ignore[untyped-decorator]
    def step(theta: Any, m: Any, v: Any, t: Any, chosen: Any) -> Any:
        g = library.grad(loss)(theta, x[chosen], y[chosen])
        m = library.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = library.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        theta = library.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-8), theta, m, v)
        return theta, m, v

    state = [theta, zeros, zeros, 0]

    def steps() -> None:
        for _ in range(work.epochs):
            order = generator.permutation(work.rows)
            for start in range(0, work.rows, work.batch):
                state[3] += 1
                state[:3] = step(*state[:3], float(state[3]), order[start : start + work.batch])
        library.block_until_ready(state[0])

    return steps


CONTENDERS: dict[str, Callable[[Work, str], Run]] = {
    "ours": ours,
    "NumPy alone": numpy_alone,
    "floor": floor,
    "PyTorch": torch_eager,
    "PyTorch compiled": torch_compiled,
    "ours on the GPU": ours_on_gpu,
    "PyTorch on the GPU": torch_on_gpu,
    "MLPClassifier": sklearn,
    "JAX": jax,
}
