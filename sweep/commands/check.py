"""`check` and `studies`: is a study file right, what does it search, and which are there?"""

from pathlib import Path

import click

from sweep.commands.options import json_option, print_json, told


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Override a field.")
@json_option
def check(study: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Check a study file and print its search space.

    \b
    Example:
      python -m sweep check studies/digits.yaml --set replicates=5
    """
    from sweep.spec import study as studies
    from sweep.spec.study_file import load, override

    with told():
        checked = studies.check(override(load(study), list(assignments)))
    space = {each.name: str(each) for each in checked.parameters()}
    if as_json:
        claims = {each.name: str(each) for each in checked.claims}
        about = {"name": checked.name, "question": checked.question}
        print_json(about | {"parameters": space, "claims": claims})
        return
    search = checked.search
    click.echo(f"{checked.name}: {checked.question}")
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
