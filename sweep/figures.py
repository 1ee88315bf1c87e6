"""Numbers as a person reads them: four digits that say something, of microseconds as of counts."""

SCORES = {"accuracy": "accuracy", "r2": "R²"}
"""What nets are scored by, as metrics name it and in words."""


def figure(value: float) -> str:
    """A number with four digits, or those of a whole number up to a million."""
    if abs(value) >= 100:
        return f"{value:.6g}"
    return f"{value:.4f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4g}"


def with_error(value: float, sd: float) -> str:
    """A number ± its standard deviation."""
    digits = f"{sd:.4f}" if 0.01 <= abs(value) < 100 else f"{sd:.2g}"
    return f"{figure(value)} ± {digits}"
