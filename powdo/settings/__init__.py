"""Settings: powdo.toml, the environment and paths, read once into one frozen object.

Everything wrong is told together, with file and key. A flag beats the environment beats the file. Every
stage loads this package at its start, so what few runs need is imported where it is needed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from powdo.errors import ConfigurationError, KeyRejectedError, PowdoError
from powdo.settings import environment, parsing, schema
from powdo.settings.paths import check_profile, config_path, data_dir, read_secret_file, state_dir
from powdo.settings.secrets import SecretSource

if TYPE_CHECKING:
    from powdo.worktime.book import Book
    from powdo.worktime.rules import Rule

_T = TypeVar("_T")
_SECTIONS: dict[str, type] = {
    "identity": schema.Identity,
    "worker": schema.Worker,
    "capture": schema.Capture,
    "dvm": schema.Dvm,
    "kimai": schema.Kimai,
    "timesheets": schema.Timesheets,
    "relay": schema.Relay,
    "blossom": schema.Blossom,
    "allow": schema.Allow,
    "pow": schema.Pow,
}


def _relays(text: str) -> tuple[str, ...]:
    return parsing.relay_urls([url.strip() for url in text.split(",") if url.strip()])


_VARIABLES: dict[str, tuple[parsing.Parse, tuple[tuple[str, str], ...]]] = {
    "NOSTR_RELAY_URL": (_relays, (("worker", "relays"), ("dvm", "relays"))),
    "NOSTR_PUBLIC_RELAYS": (_relays, (("worker", "fan_out"),)),
    "NOSTR_RELAY_ADMIN_URL": (parsing.http_url, (("allow", "url"),)),
    "NOSTR_ENABLED": (parsing.switch, (("allow", "enabled"),)),
    "NOSTR_ALLOWLIST_SYNC_INTERVAL": (parsing.pause, (("allow", "interval"),)),
}


class Settings(NamedTuple):
    """All settings of one run. *sections* names those that the file has; *publishes* is NOSTR_ENABLED."""

    config_path: Path
    state_dir: Path
    data_dir: Path
    sections: frozenset[str] = frozenset()
    identity: schema.Identity = schema.Identity()
    worker: schema.Worker = schema.Worker()
    capture: schema.Capture = schema.Capture()
    dvm: schema.Dvm = schema.Dvm()
    kimai: schema.Kimai = schema.Kimai()
    timesheets: schema.Timesheets = schema.Timesheets()
    relay: schema.Relay = schema.Relay()
    blossom: schema.Blossom = schema.Blossom()
    allow: schema.Allow = schema.Allow()
    pow: schema.Pow = schema.Pow()
    rules: tuple[Rule, ...] = ()
    publishes: bool = True

    @property
    def keystore_path(self) -> Path:
        """Where the keys in custody lie."""
        return self.data_dir / "keystore.json"

    @property
    def is_operator(self) -> bool:
        """Whether this is a DVM's configuration."""
        return "dvm" in self.sections

    @property
    def database_url(self) -> str:
        """The DVM's database; a SQLite file in the state directory unless [dvm] names another."""
        return self.dvm.database or f"sqlite:///{self.state_dir / 'dvm.sqlite'}"

    def user(self) -> str:
        """Return [identity] user. Raises: ConfigurationError."""
        return self._needed("identity", "user", self.identity.user)

    def access_user(self) -> str:
        """Return [identity] access_user; on a DVM without one its identity, at a worker's never.

        Raises: ConfigurationError.
        """
        if self.is_operator and not self.identity.access_user:
            return self.user()
        return self._needed("identity", "access_user", self.identity.access_user)

    def listener(self) -> str:
        """Return whose wraps `listen` asks for: the identity's on a DVM, the access key's at a worker's."""
        return self.user() if self.is_operator else self.access_user()

    def relays(self) -> tuple[str, ...]:
        """Return the relays of this side, the primary one first. Raises: ConfigurationError."""
        side = "dvm" if self.is_operator else "worker"
        relays = self.dvm.relays if self.is_operator else self.worker.relays
        return self._needed(side, "relays", relays)

    def _needed(self, section: str, name: str, value: _T | None) -> _T:
        if not value:
            raise ConfigurationError(
                f"'{self.config_path}' has no '{name}' in [{section}]",
                hint="run `powdo init`, or choose a configuration with --config",
            )
        return value

    def book(self, zones: Iterable[str | None], day_start: int | None = None) -> Book:
        """Return the rules and limits of timesheets, with the first of *zones* that is one, else [dvm]'s.

        So is *day_start*, when a worker's day begins.
        """
        from zoneinfo import ZoneInfo

        from powdo.worktime.book import Book, limits

        return Book(
            rules=self.rules,
            limits=limits(self.timesheets),
            zone=ZoneInfo(next(filter(None, zones), self.dvm.timezone)),
            day_start=self.dvm.day_start if day_start is None else day_start,
        )

    def master_key(self) -> bytes:
        """Return the 32 bytes that unlock the keystore. Raises: KeyRejectedError."""
        return parse_master_key(self.master_key_source().read(environment.variables()))

    def master_key_source(self) -> SecretSource:
        """Return where the master key may come from."""
        return SecretSource(
            label="master key",
            variable="NSEC_MASTER_KEY",
            credential="nsec-master-key",
            file=self.identity.master_key_file or self.config_path.parent / "master.key",
            command=self.identity.master_key_command,
            hint="set NSEC_MASTER_KEY or NSEC_MASTER_KEY_FILE; make a key with `openssl rand -hex 32`, "
            "or run `powdo init`",
        )

    def kimai_token(self, worker: str | None = None) -> str:
        """Return Kimai's API token, that of *worker* where [[kimai.worker]] has one.

        Raises: KeyRejectedError.
        """
        for one in self.kimai.worker:
            if one.name == worker:
                return one.source().read(environment.variables())
        return SecretSource(
            label="Kimai token",
            variable="POWDO_KIMAI_TOKEN",
            credential="kimai-token",
            file=self.kimai.token_file,
            command=self.kimai.token_command,
            hint="make one in Kimai (profile, API access) and write it into token_file of [kimai]",
        ).read(environment.variables())

    def relay_admin_secret(self) -> str:
        """Return the secret with which the relay's list is changed. Raises: KeyRejectedError."""
        source = _relay_admin_secret(
            self.allow.secret_file, self.allow.secret_command, "secret_file in [allow]"
        )
        return source.read(environment.variables())

    def served_admin_secret(self, file: Path | None) -> str | None:
        """Return the secret that our own server asks for, from *file* if given; None when none is configured.

        Raises: KeyRejectedError.
        """
        if file is not None:
            return read_secret_file(file)
        source = _relay_admin_secret(
            self.relay.admin_secret_file, self.relay.admin_secret_command, "admin_secret_file in [relay]"
        )
        variables = environment.variables()
        return source.read(variables) if source.is_named(variables) else None


def parse_master_key(text: str) -> bytes:
    """Return the 32 bytes of a master key. Raises: KeyRejectedError."""
    try:
        master = bytes.fromhex(text)
    except ValueError:
        master = b""
    if len(master) != 32 or len(text) != 64:
        raise KeyRejectedError(
            "the master key is not 64 hex digits", hint="make one with `openssl rand -hex 32`"
        )
    return master


def _relay_admin_secret(file: Path | None, command: str | None, key: str) -> SecretSource:
    return SecretSource(
        label="secret of the relay's admin API",
        variable="NOSTR_RELAY_ADMIN_SECRET",
        credential="relay-admin-secret",
        file=file,
        command=command,
        hint=f"set NOSTR_RELAY_ADMIN_SECRET or NOSTR_RELAY_ADMIN_SECRET_FILE, or name its file with {key}",
    )


def load(*, config: str | None = None, profile: str | None = None) -> Settings:
    """Return the settings of this run. Raises: ConfigurationError with every problem of the file."""
    variables = environment.variables()
    check_profile(profile)
    file = config_path(config, profile, variables)
    table = _read(file, required=config is not None)
    values = _values(table, file, variables)
    return Settings(
        config_path=file,
        state_dir=state_dir(profile, variables),
        data_dir=data_dir(profile, variables),
        sections=frozenset(table),
        publishes=parsing.switch(variables.get("NOSTR_ENABLED", "").strip(" ,") or True),
        **values,
    )


def parse(content: str, file: Path) -> None:
    """Check *content* as what *file* would hold. Raises: ConfigurationError with every problem."""
    _values(_parse(content.encode("utf-8", "surrogateescape"), file), file, {})


def _values(table: Mapping[str, Any], file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the sections and rules in *table*. Raises: ConfigurationError with every problem."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, content in table.items():
        if name == "rule":
            values["rules"] = _rules(content, problems)
        elif name not in _SECTIONS:
            problems.append(_unknown(f"section [{name}]", name, [*_SECTIONS, "rule"]))
        elif not isinstance(content, dict):
            problems.append(f"'{name}' is not a section; write [{name}]")
        else:
            values[name] = _section(name, _SECTIONS[name], content, problems)
    _apply_environment(values, variables, problems)
    if problems:
        raise ConfigurationError(
            f"'{file}' has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            problems=[
                problem if problem.startswith("NOSTR_") else f"{file}: {problem}" for problem in problems
            ],
            hint="see powdo.toml(5)",
        )
    return values


def _read(file: Path, *, required: bool) -> dict[str, Any]:
    """Return the TOML in *file*; one that is not there is empty unless it was asked for by name."""
    try:
        with file.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            data = stream.read()
    except FileNotFoundError:
        if required:
            raise ConfigurationError(
                f"cannot open '{file}': no such file", hint="`powdo init` writes one"
            ) from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot open '{file}': {error.strerror}") from None
    if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o022:
        raise ConfigurationError(f"others can write '{file}'", hint=f"run: chmod go-w '{file}'")
    return _parse(data, file)


def _parse(data: bytes, file: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read '{file}': {error}") from None


def _unknown(what: str, name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"unknown {what}" + (f"; did you mean '{near[0]}'?" if near else "")


def _section(name: str, kind: type, content: Mapping[str, Any], problems: list[str]) -> Any:
    """Return the section object in *content*; what is wrong goes to *problems*."""
    readers = schema.readers(kind)
    values = {}
    for option, value in content.items():
        if option not in readers:
            problems.append(_unknown(f"key '{option}' in [{name}]", option, list(readers)))
            continue
        try:
            values[option] = readers[option](value)
        except PowdoError as error:
            problems.append(f"[{name}] {option}: {error.message}")
    return kind(**values)


def _rules(content: Any, problems: list[str]) -> tuple[Rule, ...]:
    from powdo.worktime.ruleset import parse_rules

    if not isinstance(content, list):
        problems.append("'rule' is not a list; write [[rule]]")
        return ()
    rules, wrong = parse_rules(content)
    problems.extend(wrong)
    return rules


def _apply_environment(values: dict[str, Any], variables: Mapping[str, str], problems: list[str]) -> None:
    """Let the variables that have a key in the file beat it."""
    for variable, (read, places) in _VARIABLES.items():
        text = variables.get(variable, "").strip(" ,")
        if not text:
            continue
        try:
            value = read(text)
        except PowdoError as error:
            problems.append(f"{variable}: {error.message}")
            continue
        for name, option in places:
            values[name] = values.get(name, _SECTIONS[name]())._replace(**{option: value})
