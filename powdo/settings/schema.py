"""The sections of powdo.toml: every key, its meaning, its check and its default.

A field's annotation holds the function of `parsing` that reads it. They are read, so they stand here as they
are, not as texts. Sections are named tuples: each run of each command makes these classes, and a frozen
dataclass takes six times as long to make.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from powdo.settings.parsing import (
    Parse,
    address,
    age,
    amount,
    bits,
    blossom_host,
    flag,
    http_url,
    kimai_tokens,
    letters,
    many,
    medium,
    number,
    path,
    pattern,
    pause,
    pubkey,
    public_url,
    relay_urls,
    retention_rules,
    share,
    some,
    squares,
    text,
    wall_clock,
    zone,
)
from powdo.settings.units import parse_duration, parse_size

if TYPE_CHECKING:
    from powdo.settings.kimai import Token
    from powdo.settings.retention import Rule
    from powdo.worktime.hours import Range


def readers(section: type) -> dict[str, Parse]:
    """Return the function that reads each key of *section*."""
    return {name: hint.__metadata__[0] for name, hint in section.__annotations__.items()}


class Identity(NamedTuple):
    """[identity]: which keys in custody are ours."""

    user: Annotated[str | None, text] = None
    access_user: Annotated[str | None, text] = None
    master_key_file: Annotated[Path | None, path] = None
    master_key_command: Annotated[str | None, text] = None
    keystore: Annotated[str, medium] = "file"


class Worker(NamedTuple):
    """[worker]: for whom, through whom, and what is kept."""

    dvm: Annotated[str | None, pubkey] = None
    relays: Annotated[tuple[str, ...], relay_urls] = ()
    fan_out: Annotated[tuple[str, ...], relay_urls] = ()
    blossom: Annotated[tuple[str, ...], many(http_url)] = ()
    hold: Annotated[int, parse_duration] = 0
    review: Annotated[bool, flag] = False
    proof: Annotated[bool, flag] = True
    resend_after: Annotated[int, parse_duration] = 86400
    keep_days: Annotated[int, number] = 14
    expiration: Annotated[int | None, parse_duration] = None


class Capture(NamedTuple):
    """[capture]: what is looked at, and what is left out before anything is encrypted."""

    activitywatch: Annotated[str, http_url] = "http://127.0.0.1:5600"
    activitywatch_key_file: Annotated[Path | None, path] = None
    settle: Annotated[int, parse_duration] = 240
    screenshots: Annotated[bool, flag] = True
    blur: Annotated[int, squares] = 0
    scale: Annotated[float, share] = 1.0
    hours: Annotated["tuple[Range, ...]", wall_clock] = ()
    spread: Annotated[int, parse_duration] = 0
    redact: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    deny: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    private: Annotated[tuple[re.Pattern[str], ...], many(pattern)] = ()
    keep_urls: Annotated[bool, flag] = False
    keep_titles: Annotated[bool, flag] = True


class Dvm(NamedTuple):
    """[dvm]: the operator's side."""

    relays: Annotated[tuple[str, ...], relay_urls] = ()
    blossom_hosts: Annotated[tuple[str, ...], many(blossom_host)] = ()
    database: Annotated[str | None, text] = None
    max_bundle: Annotated[int, parse_size] = 64 << 20
    retain_blobs: Annotated[int | None, parse_duration] = None
    retain_screenshots: Annotated[int | None, parse_duration] = None
    timezone: Annotated[str, zone] = "UTC"
    day_start: Annotated[int, parse_duration] = 0


class Kimai(NamedTuple):
    """[kimai]: where timesheets go."""

    url: Annotated[str | None, http_url] = None
    token_file: Annotated[Path | None, path] = None
    token_command: Annotated[str | None, text] = None
    create: Annotated[bool, flag] = False
    country: Annotated[str | None, letters(2)] = None
    currency: Annotated[str | None, letters(3)] = None
    tag: Annotated[str, text] = "powdo"
    worker: Annotated["tuple[Token, ...]", kimai_tokens] = ()


class Timesheets(NamedTuple):
    """[timesheets]: how active time becomes blocks; seconds."""

    merge_gap: Annotated[int, parse_duration] = 300
    minimum: Annotated[int, parse_duration] = 60
    absorb: Annotated[int, parse_duration] = 60
    rounding: Annotated[int, parse_duration] = 60


class Relay(NamedTuple):
    """[relay]: as the flags of `relay serve`, who runs it, and what one client may ask of it."""

    name: Annotated[str, text] = "powdo relay"
    description: Annotated[str, text] = "Keeps gift wraps for their recipients."
    contact: Annotated[str | None, text] = None
    listen: Annotated[str, address] = "127.0.0.1:7777"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    open: Annotated[bool, flag] = False
    min_pow: Annotated[int, number] = 0
    admin_secret_file: Annotated[Path | None, path] = None
    admin_secret_command: Annotated[str | None, text] = None
    admin_ip: Annotated[tuple[str, ...], many(text)] = ("127.0.0.0/8", "::1/128")
    operator: Annotated[str | None, pubkey] = None
    pow_service: Annotated[bool, flag] = False
    retention: Annotated[int, parse_duration] = 30 * 86400
    stranger_wraps_per_recipient: Annotated[int, number] = 1000
    stranger_wraps: Annotated[int, number] = 100_000
    events_per_minute: Annotated[int | None, number] = None
    requests_per_minute: Annotated[int | None, number] = None
    auths_per_minute: Annotated[int | None, number] = None
    oldest: Annotated[int, age] = 3 * 365 * 86400
    newest: Annotated[int, parse_duration] = 900
    max_message: Annotated[int, parse_size] = 256 << 10
    max_tags: Annotated[int, some] = 2500
    max_subscriptions: Annotated[int, some] = 32
    max_filters: Annotated[int, some] = 16
    max_filter_values: Annotated[int, some] = 2000
    max_limit: Annotated[int, some] = 500
    max_connections: Annotated[int, some] = 10_000
    max_connections_per_address: Annotated[int, some] = 128


class Blossom(NamedTuple):
    """[blossom]: as the flags of `blossom serve`, and what keys and addresses may ask of it."""

    listen: Annotated[str, address] = "127.0.0.1:3000"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    open: Annotated[bool, flag] = False
    max_size: Annotated[int, parse_size] = 64 << 20
    mirror_hosts: Annotated[tuple[str, ...], many(blossom_host)] = ()
    retention: Annotated["tuple[Rule, ...]", retention_rules] = ()
    private: Annotated[bool, flag] = False
    quota: Annotated[int, amount] = 10 << 30
    quota_blobs: Annotated[int, some] = 100_000
    capacity: Annotated[int | None, amount] = None
    min_free: Annotated[int | None, parse_size] = None
    max_uploads: Annotated[int, some] = 128
    max_uploads_per_pubkey: Annotated[int, some] = 16
    max_uploads_per_address: Annotated[int, some] = 32
    max_connections: Annotated[int, some] = 1000
    max_connections_per_address: Annotated[int, some] = 128
    header_timeout: Annotated[int, pause] = 10
    idle_timeout: Annotated[int, pause] = 20
    min_rate: Annotated[int, amount] = 4096


class Allow(NamedTuple):
    """[allow]: how the relay is told whom to let in."""

    url: Annotated[str | None, http_url] = None
    secret_file: Annotated[Path | None, path] = None
    secret_command: Annotated[str | None, text] = None
    interval: Annotated[int, pause] = 300
    enabled: Annotated[bool, flag] = True


class Pow(NamedTuple):
    """[pow]: how long mining a wrap may take; else as the flags of `pow serve`, and the service's terms."""

    max_seconds: Annotated[int, pause] = 60
    listen: Annotated[str, address] = "127.0.0.1:7778"
    data: Annotated[Path | None, path] = None
    url: Annotated[str | None, public_url] = None
    trusted_proxy: Annotated[tuple[str, ...], many(text)] = ()
    database: Annotated[str | None, text] = None
    allow: Annotated[tuple[str, ...], many(pubkey)] = ()
    allowlist: Annotated[Path | None, path] = None
    members_only: Annotated[bool, flag] = False
    members_pay: Annotated[bool, flag] = False
    min_target: Annotated[int, bits] = 8
    max_target: Annotated[int, bits] = 28
    base: Annotated[int, number] = 1000
    rate: Annotated[int, number] = 1000
    job_seconds: Annotated[int, pause] = 60
    foreign: Annotated[bool, flag] = True
    jobs_per_pubkey: Annotated[int, some] = 4
    backlog: Annotated[int, pause] = 120
    threads: Annotated[int | None, some] = None
    max_message: Annotated[int, amount] = 128 << 10
    idle_timeout: Annotated[int, pause] = 600
    max_connections: Annotated[int, some] = 1000
    max_connections_per_address: Annotated[int, some] = 64
