from pathlib import Path

from sweep.spec.catalogue import catalogue


def test_what_a_study_needs_and_what_keeps_it_from_running(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "name: b\nresources: {gpu: 0.5}\ndata: {source: 'npz:x'}\n"
        "model: {start_from: {choose: [null, {source: a.npz}, {source: a.npz, freeze: 1}]}}"
    )
    (tmp_path / "a.yaml").write_text("name: a\nquestion: Why?\nreplicates: 0")
    (tmp_path / "c.yaml").write_text(
        "name: c\nmodel: {batch_norm: {choose: [none, after]}}\nsearch: {sampler: grid, looks: 3}"
    )
    (tmp_path / "notes.txt").write_text("no study")
    wrong, card, looked = catalogue(tmp_path)
    assert (wrong.name, wrong.question, wrong.cost) == ("a", "Why?", 0)
    assert wrong.problem == "replicates: must be at least 1 and at most 1000, got 0"
    assert card.needs == ("data.source (npz:x)", "the model a.npz", "0.5 GPU a trial")
    assert card.cost == 60 * 3 * 27
    assert looked.cost == 2 * (3 + 3 + 6) * 27
