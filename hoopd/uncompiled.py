"""Stands in for Cython's module where hot loops run as plain Python: says that nothing is compiled, decorates nothing.

Not the compiler, and no part of a compiled module. Types are only in annotations, which nobody evaluates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

compiled = False


def cfunc(function: T) -> T:
    return function


def inline(function: T) -> T:
    return function


def exceptval(value: int, *, check: bool) -> Callable[[T], T]:
    return inline
