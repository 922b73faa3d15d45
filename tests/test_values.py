"""Our `dataclass` beside the standard one: the same arguments must give the same behaviour."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from powdo.values import dataclass as ours

_STANDARD: Callable[..., Any] = dataclasses.dataclass
_OURS: Callable[..., Any] = ours


def _made(decorator: Callable[..., Any], **options: bool) -> Any:
    class Sample:
        """A class with each sort of field."""

        first: int
        second: str = "two"
        third: list[int] = dataclasses.field(default_factory=list)
        hidden: object = dataclasses.field(default=None, compare=False, repr=False)

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("negative")

    return decorator(frozen=True, **options)(Sample)


@pytest.fixture(params=["plain", "slots", "kw_only", "both"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return the same class made by the standard decorator and by ours."""
    options: dict[str, bool] = {
        "plain": {},
        "slots": {"slots": True},
        "kw_only": {"kw_only": True},
        "both": {"slots": True, "kw_only": True},
    }[request.param]
    return _made(_STANDARD, **options), _made(_OURS, **options)


def _told(kind: Any, arguments: tuple[Any, ...], values: dict[str, Any]) -> object:
    """Return the fields and text of what is made, or which error there is instead."""
    try:
        made = kind(*arguments, **values)
    except (TypeError, ValueError) as error:
        return type(error)
    return dataclasses.asdict(made), repr(made)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((), {}),
        ((1,), {}),
        ((1, "b", [3], 4), {}),
        ((1, "b", [3], 4, 5), {}),
        ((1,), {"first": 2}),
        ((1,), {"third": [3], "hidden": 4}),
        ((), {"first": 1}),
        ((), {"first": 1, "second": "b", "third": [], "hidden": 0}),
        ((), {"first": 1, "unknown": 2}),
        ((), {"second": "b"}),
        ((-1,), {}),
        ((), {"first": -1}),
    ],
)
def test_arguments_are_taken_as_the_standard_takes_them(
    pair: tuple[Any, Any], arguments: tuple[Any, ...], values: dict[str, Any]
) -> None:
    """Positional, named, missing, double, unknown and refused values end alike."""
    assert _told(pair[1], arguments, values) == _told(pair[0], arguments, values)


def test_values_compare_and_hash_by_their_fields(pair: tuple[Any, Any]) -> None:
    """Equality looks at class and compared fields, and what is equal has one hash."""
    kind = pair[1]
    one, same, other = kind(first=1, third=()), kind(first=1, third=(), hidden=3), kind(first=2, third=())
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != pair[0](first=1, third=())
    assert dataclasses.replace(one, first=2) == other


def test_values_cannot_be_changed(pair: tuple[Any, Any]) -> None:
    """No field is set or deleted, and none is added."""
    value = pair[1](first=1)
    for name in ("first", "new"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, "first")
    assert value.first == 1


def test_a_factory_is_asked_each_time(pair: tuple[Any, Any]) -> None:
    """Two values do not share what a factory made."""
    assert pair[1](first=1).third is not pair[1](first=1).third


def test_methods_of_the_class_stay() -> None:
    """A class keeps the methods that it has itself, and one that inherits gets its own."""

    @ours(frozen=True)
    class Base:
        """Says nothing of itself."""

        one: int

        def __repr__(self) -> str:
            return "hidden"

    @ours(frozen=True)
    class More(Base):
        """Has a field more."""

        two: int

    assert repr(Base(1)) == "hidden"
    assert (More(1, 2).one, More(1, 2).two) == (1, 2)
    assert More(1, 2) != More(1, 3)


def test_only_frozen_classes() -> None:
    """What may change must be made by the standard decorator."""
    with pytest.raises(TypeError, match="frozen"):
        _OURS(frozen=False)
