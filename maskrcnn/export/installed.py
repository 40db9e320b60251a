"""Whether the packages of the extra `export` are there."""

from importlib.util import find_spec


def check_installed(*packages: str) -> None:
    """Raise ValueError, naming the remedy, unless all are installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ValueError(
            f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed: pip install '.[export]'"
        )
