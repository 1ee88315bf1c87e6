"""Nets of ours as the trainers of a study, and the models that they may start from."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep import zoo
from sweep.scheduling.runner import NetMaker
from sweep.spec.study import Study
from sweep.spec.study_file import compact
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.misfits import misfits
from trainer.network import Layout, network
from trainer.prediction import predict
from trainer.rules import Problem, Technique, build, named
from trainer.state import State, weights


class Nets:
    """The nets of one study (see `sweep.trainers`).

    Args:
        study: the study.
        tracking_uri: the MLflow store in which models to start from are looked up.

    Raises:
        ConfigError: such a model is absent or of no use.
    """

    version = None

    def __init__(self, study: Study, tracking_uri: str) -> None:
        judges = ("predict_seconds", "folded_predict_seconds")
        self.maker = NetMaker(
            timed=any(name in judges for name in study.judges),
            judged=study.search.pruner.name != "none",
        )
        self._models = {name: zoo.load(name, tracking_uri) for name in study.starts()}
        self.sources = {name: each.weights for name, each in self._models.items()}

    def problems(self, config: Mapping[str, Any], data: Data) -> list[Problem]:
        """Conflicts between the net and the rows, or with the model that it starts from."""
        net, preprocess = build(Config, config), Technique(*named(config["data"]["preprocess"]))
        return misfits(net, data) + self._unlike(net, preprocess)

    def _unlike(self, net: Config, preprocess: Technique) -> list[Problem]:
        """Whether frozen layers would see features preprocessed in another way than they learnt."""
        start = net.model.start_from
        if start is None or not start.freeze:
            return []
        known = self._models[start.source].preprocess
        if known is None or Technique(*named(known)) == preprocess:
            return []
        rule = f"must be {compact(known)} as for {start.source}, whose layers are frozen"
        return [Problem("data.preprocess", rule, preprocess.name)]

    def parameters(self, config: Mapping[str, Any], data: Data) -> int:
        """How many parameters the net has, frozen ones among them."""
        plain = build(Config, config)
        net = network(
            plain.model,
            inputs=data.folds[0].x_train.shape[1],
            classes=data.outputs,
            binary=plain.training.binary,
            image=data.image,
        )
        return Layout(net.learned).size

    def learnt(self, config: Mapping[str, Any], state: State) -> dict[str, Array]:
        """The weights (R, …) by name."""
        return weights(build(Config, config), state)

    def predict(
        self, config: Mapping[str, Any], learnt: Mapping[str, Array], rows: Sequence[Array]
    ) -> list[Array]:
        """Class probabilities, or numbers, (n, K) of each replicate."""
        net = build(Config, config)
        if len(rows) == 1:
            return list(predict(net, learnt, rows[0]))
        return [
            predict(net, {name: each[at : at + 1] for name, each in learnt.items()}, x)[0]
            for at, x in enumerate(rows)
        ]
