import ast
import subprocess
import sys
from pathlib import Path

import trainer

FILES = {path.stem: path for path in Path(trainer.__path__[0]).glob("*.py") if path.stem[0] != "_"}
FACADE = "estimators"  # scikit-learn's interface, for those who import it
FORBIDDEN = {"ray", "optuna", "mlflow", "sweep", "sklearn", "pandas", "cupy", "torch"}


def imported(path: Path) -> set[str]:
    """The modules of the trainer that a file imports, anywhere in it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.removeprefix("trainer.") for name in names if name.startswith("trainer.")}


def test_the_trainer_imports_only_numbers() -> None:
    code = "\n".join(f"import trainer.{name}" for name in FILES if name != FACADE)
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = set(child.stdout.split())
    assert {"trainer", "numpy"} <= packages
    assert not packages & FORBIDDEN


def test_imports_run_one_way() -> None:
    """Every file of the trainer can be placed after all those that it imports."""
    waiting = {name: imported(path) for name, path in FILES.items()}
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & waiting.keys()}
        assert ready, f"these import each other: {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
