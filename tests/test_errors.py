"""Errors and their exit statuses."""

from __future__ import annotations

import itertools

from powdo import errors
from powdo.errors import SEVERITY, BusyError, PeerAwayError, PowdoError, worse


def _classes(base: type[PowdoError]) -> list[type[PowdoError]]:
    return [base, *itertools.chain.from_iterable(_classes(kind) for kind in base.__subclasses__())]


def test_every_status_has_its_place_in_the_order():
    """Whatever is raised on purpose can be compared by severity."""
    assert {kind.status for kind in _classes(PowdoError)} <= set(SEVERITY)
    assert len(set(SEVERITY)) == len(SEVERITY)


def test_the_table_in_the_module_is_the_classes():
    """The statuses in the docstring's tree are those of the classes."""
    own = [kind for kind in _classes(PowdoError)[1:] if kind.__module__ == errors.__name__]
    for kind in own:
        line = next(line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)
        words = line.split()
        assert kind in (BusyError, PeerAwayError) or str(kind.status) == words[words.index(kind.__name__) + 1]


def test_the_worse_status_wins():
    """Our own bug beats the command line, that beats the configuration, …, a retry beats nothing but 0."""
    assert worse(0, 75) == 75
    assert worse(75, 65) == 65
    assert worse(78, 77) == 78
    assert worse(70, 2) == 70
    ordered = sorted(SEVERITY, key=SEVERITY.index)
    assert all(worse(low, high) == high for low, high in itertools.combinations(ordered, 2))
