"""`[[blossom.retention]]`: how it is read, and what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from powdo.errors import ConfigurationError
from powdo.nips.bech32 import encode_npub
from powdo.settings import load, parse
from powdo.settings.retention import Rule
from tests.blossom_server import ANA, BEN


def test_rules_are_read_in_their_order(own_world: Path) -> None:
    """Types in lower case, npubs and hex, durations; what is left out means everything, and for ever."""
    file = own_world / "powdo.toml"
    file.write_text(
        "[blossom]\n"
        f'[[blossom.retention]]\npubkeys = ["{encode_npub(ANA.pubkey)}", "{BEN.pubkey}"]\n'
        '[[blossom.retention]]\ntype = "Application/*"\nkeep = "2w"\n'
        "[[blossom.retention]]\nkeep = 60\n"
    )
    file.chmod(0o600)
    assert load().blossom.retention == (
        Rule(pubkeys=frozenset({ANA.pubkey, BEN.pubkey})),
        Rule(type="application/*", keep=14 * 86400),
        Rule(keep=60),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[blossom]\nretention = 30", r"write \[\[blossom.retention\]\]"),
        ("[blossom.retention]\nkeep = 30", r"write \[\[blossom.retention\]\]"),
        ("[[blossom.retention]]\nage = 30", "rule 1: unknown key 'age'"),
        ("[[blossom.retention]]\n[[blossom.retention]]\nkeep = 'soon'", "rule 2: keep: 'soon'"),
        ("[[blossom.retention]]\nkeep = 0", "between a second and a hundred years"),
        ("[[blossom.retention]]\nkeep = '101000d'", "between a second and a hundred years"),
        ("[[blossom.retention]]\ntype = 'image png'", "not a media type"),
        ("[[blossom.retention]]\ntype = ''", "not a text"),
        ("[[blossom.retention]]\npubkeys = []", "pubkeys: there is none"),
        ("[[blossom.retention]]\npubkeys = ['npub1x']", "pubkeys: "),
    ],
)
def test_what_is_wrong_is_told_with_its_rule(text: str, told: str) -> None:
    """Nothing wrong is taken for something else."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text, Path("powdo.toml"))
    (problem,) = caught.value.problems
    assert re.search(told, problem), problem
