"""`dataclass` for frozen classes, without its price at start.

The standard decorator writes each method as source and compiles it, about a millisecond a class, in every
process. Here all classes share methods that look at the fields; making an object takes about twice as long.

Rules:
- arguments, fields and behaviour are the standard ones, so `fields`, `replace` and `asdict` work;
- only frozen classes, without order; slots are not pickled;
- for what every stage loads; what is made by the thousand keeps the standard decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from typing import TYPE_CHECKING, Any

_put = object.__setattr__


def _decorator(*, frozen: bool, slots: bool = False, kw_only: bool = False) -> Callable[[type], type]:
    """Return a decorator as the standard `dataclass` does. Raises: TypeError unless *frozen*."""
    if not frozen:
        raise TypeError("only frozen classes")

    def decorate(cls: type) -> type:
        made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(
            cls
        )
        fields = dataclasses.fields(made)
        compared = tuple(field.name for field in fields if field.compare)
        methods = {
            "__init__": _init(fields),
            "__repr__": _repr(tuple(field.name for field in fields if field.repr)),
            "__eq__": _eq(compared),
            "__hash__": lambda self: hash(_values(self, compared)),
            "__setattr__": _refuse,
            "__delattr__": _refuse,
        }
        for name, method in methods.items():
            if vars(made).get(name) is None:  # a class with an __eq__ of its own has None for __hash__
                setattr(made, name, method)
        return made

    return decorate


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _decorator


def _init(fields: tuple[Field[Any], ...]) -> Callable[..., None]:
    names = tuple(field.name for field in fields)
    positional = tuple(field.name for field in fields if not field.kw_only)
    known = frozenset(names)
    defaults = {field.name: field.default for field in fields if field.default is not MISSING}
    makers = {field.name: field.default_factory for field in fields if field.default_factory is not MISSING}

    def gathered(arguments: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        """Return the value of every field. Raises: TypeError."""
        if len(arguments) > len(positional):
            raise TypeError(f"takes {len(positional)} positional arguments, not {len(arguments)}")
        placed = dict(zip(positional, arguments, strict=False))
        if placed.keys() & given.keys():
            raise TypeError(f"has two values for {sorted(placed.keys() & given.keys())}")
        given |= placed
        given |= {name: make() for name, make in makers.items() if name not in given}
        given = defaults | given
        if given.keys() != known:
            raise TypeError(f"misses or does not know {sorted(given.keys() ^ known)}")
        return given

    def start(self: Any, /, *arguments: Any, **given: Any) -> None:
        if not given and len(arguments) == len(positional) == len(names):
            for name, value in zip(names, arguments, strict=True):
                _put(self, name, value)
        else:
            given = gathered(arguments, given)
            for name in names:
                _put(self, name, given[name])
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()

    return start


def _values(value: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in names])


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({inner})"

    return shown


def _eq(names: tuple[str, ...]) -> Callable[[Any, object], Any]:
    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self, names) == _values(other, names)

    return equal


def _refuse(_self: object, name: str, *_value: object) -> None:
    raise FrozenInstanceError(f"cannot change '{name}'")
