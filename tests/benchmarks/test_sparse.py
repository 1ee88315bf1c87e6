"""The benchmark of sparse nets compares two ways to the same prediction."""

import numpy as np

from benchmarks.sparse import compressed, layers, scores
from tests.trainer.conftest import config, fold
from trainer.data import Data
from trainer.prediction import predict
from trainer.state import weights
from trainer.training import train


def test_both_predict_what_the_net_does() -> None:
    cfg = config({"activation": "relu"}, optimizer="momentum", l1=0.1, precision="float64")
    data = Data((fold(),), 3)
    learnt = weights(cfg, train(cfg, data, None, 9, seed=0, replicates=2).state)
    x = data.folds[0].x_val.astype(np.float64)
    dense = layers(learnt)
    sparse = compressed(dense)
    assert 0 < sum(weight.nnz for weight, _ in sparse) < sum(weight.size for weight, _ in dense)
    odds = predict(cfg, learnt, x)[0]
    for net in (dense, sparse):
        found = np.exp(scores(net, x.T))
        np.testing.assert_allclose((found / found.sum(axis=0)).T, odds, rtol=1e-9)
