"""`check` and `studies`: is a study file right, what does it search, and which are there?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.commands.options import code_option, json_option, print_json, told

if TYPE_CHECKING:
    from sweep.recording.size import Size
    from sweep.spec.study import Study


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Override a field.")
@code_option
@json_option
def check(
    study: Path, assignments: tuple[str, ...], allow_code: tuple[str, ...], as_json: bool
) -> None:
    """Check a study file; print its search space and the disk that its record will take.

    Data and models that are here are looked at: whether they go with the study.

    \b
    Example:
      python -m sweep check studies/digits.yaml --set replicates=5
    """
    from sweep.spec import study as studies
    from sweep.spec.places import opened

    with told():
        checked = studies.check(opened(study, assignments))
        record, unknown = _record(checked, allow_code)
    space = {each.name: str(each) for each in checked.parameters()}
    if as_json:
        claims = {each.name: str(each) for each in checked.claims}
        about: dict[str, Any] = {"name": checked.name, "question": checked.question}
        about |= {"record": record.as_json() if record else None}
        print_json(about | {"parameters": space, "claims": claims})
        return
    search = checked.search
    click.echo(": ".join(filter(None, (checked.name, checked.question))))
    click.echo(
        f"{checked.target} trials × {checked.replicates} replicates, "
        f"sampler {search.sampler.name}, pruner {search.pruner.name}, "
        + ", ".join(f"{each.wanted} {each.name}" for each in checked.objectives)
    )
    if checked.constraints:
        click.echo(f"  where {' and '.join(map(str, checked.constraints))}")
    for name, values in space.items():
        click.echo(f"  {name:42} {values}")
    for each in checked.claims:
        click.echo(f"  claim {each.name}: {each}")
    if not space:
        click.echo("  nothing is searched: every field has one value")
    told_of = f"will take {record}" if record else f"can't be estimated: {unknown}"
    click.echo(f"its record in MLflow and in the workspace {told_of}")


def _record(checked: "Study", allow_code: tuple[str, ...]) -> tuple["Size | None", str]:
    """The size of a study's record, or why it is not known: it depends on the data.

    Raises:
        ConfigError: the data don't go with the study.
    """
    from sweep.datasets import Datasets
    from sweep.recording.size import size
    from sweep.spec.places import Elsewhere
    from sweep.workspace import workspace

    try:
        datasets = Datasets(checked, workspace(None).tracking_uri, allow_code)
        return size(checked, datasets), f"only training can tell what {checked.trainer} learns"
    except Elsewhere as error:
        return None, str(error)


@click.command()
@json_option
def studies(as_json: bool) -> None:
    """List the studies in the box: question, cost and what they need.

    The cost is trials × replicates × epochs; pruning makes it less.

    \b
    Example:
      python -m sweep studies
    """
    from dataclasses import asdict

    from sweep.spec.catalogue import catalogue

    with told():
        entries = catalogue()
    if as_json:
        print_json([asdict(each) | {"cost": each.cost} for each in entries])
        return
    for each in entries:
        click.echo(f"{each.name}: {each.question}")
        if each.problem is not None:
            click.echo(f"  can't be run here: {each.problem}")
            continue
        claims = f"; {len(each.claims)} claims" if each.claims else ""
        click.echo(
            f"  {each.trials} trials × {each.replicates} replicates × {each.epochs} epochs "
            f"= {each.cost:,} epochs{claims}; needs {', '.join(each.needs) or 'nothing'}"
        )
        click.echo(f"  python -m sweep run {each.file}")
