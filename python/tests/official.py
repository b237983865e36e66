"""Compares a compatibility layer with the official package that it stands for, name by name."""

from __future__ import annotations

import enum
import importlib
import inspect

DUNDERS = ("__init__", "__enter__", "__exit__", "__aenter__", "__aexit__")


def module(package, name):
    return importlib.import_module(f"{package.__name__}.{name}")


def own_names(mod) -> set[str]:
    """What a module defines, not what it imports."""
    return {
        name
        for name, value in vars(mod).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == mod.__name__
    }


def missing(theirs, ours, name, internal) -> set[str]:
    return own_names(module(theirs, name)) - internal - set(vars(module(ours, name)))


def compare_signatures(theirs, ours, name, internal) -> int:
    """How many functions and methods of one module were found to be called alike."""
    compared = 0
    for owner in sorted(own_names(module(theirs, name)) - internal):
        their, mine = getattr(module(theirs, name), owner), getattr(module(ours, name), owner)
        if inspect.isfunction(their):
            _same(mine, their, owner)
            compared += 1
        elif inspect.isclass(their) and not issubclass(their, enum.Enum):
            for method, function in vars(their).items():
                if method.startswith("_") and method not in DUNDERS:
                    continue
                if isinstance(function, property):
                    assert isinstance(vars(mine)[method], property)
                elif inspect.isfunction(function):
                    _same(getattr(mine, method), function, f"{owner}.{method}")
                    compared += 1
    return compared


def _same(mine, their, name):
    assert _shape(mine) == _shape(their), name
    assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(their), name


def _shape(function):
    """Names, kinds and defaults; an enum or a class by its name, since each package has its own."""
    return [(p.name, p.kind, _comparable(p.default)) for p in inspect.signature(function).parameters.values()]


def _comparable(default):
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}={default.value}"
    return default.__name__ if isinstance(default, type) else default
