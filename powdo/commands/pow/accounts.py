"""`powdo pow credit`, `accounts` and `price`: what clients of the service have, and what it costs them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from powdo.commands.pow.group import proof
from powdo.options import Run, command, report_options

_data_option = click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="The service's folder, if not [pow] data."
)
#: All bitcoin there will ever be, in satoshis.
_MOST = 21_000_000 * 100_000_000


@command("credit", parent=proof, epilog="powdo pow credit npub1… 1000 --note 'invoice 17'")
@click.argument("npub", metavar="NPUB")
@click.argument("amount", metavar="AMOUNT", type=click.IntRange(1, _MOST))
@_data_option
@click.option("--note", metavar="TEXT", help="Say in the books what it is for.")
@report_options
def credit(
    run: Run, npub: str, amount: int, data: Path | None, note: str | None, json: bool, headers: bool
) -> None:
    """Put AMOUNT satoshis on the account of NPUB, beside a service that runs, and show its balance."""
    from powdo.errors import BadRecordError, UsageError
    from powdo.nips.bech32 import encode_npub, parse_pubkey
    from powdo.pow_service import open_books, section_of

    try:
        pubkey = parse_pubkey(npub)
    except BadRecordError as error:
        raise UsageError(error.message, hint=error.hint) from None
    with closing(open_books(section_of(run, data), create=True)) as books:
        balance = books.credit(pubkey, 1000 * amount, note)
    run.table([{"npub": encode_npub(pubkey), "sat": balance / 1000}], json=json, headers=headers)


@command(
    "accounts",
    parent=proof,
    epilog="powdo pow accounts --json | jq -s 'map(.charged) | add'",
    nothing="there are no accounts yet; `powdo pow credit` opens one",
)
@_data_option
@click.option("--check", is_flag=True, help="Also add all movements up; status 65 where they do not fit.")
@report_options
def accounts(run: Run, data: Path | None, check: bool, json: bool, headers: bool) -> None:
    """List the accounts in satoshis: what is left, what was put there, what was charged for how many jobs."""
    from powdo.errors import BadRecordError
    from powdo.nips.bech32 import encode_npub
    from powdo.pow_service import open_books, section_of

    with closing(open_books(section_of(run, data))) as books:
        rows = [
            {
                "npub": encode_npub(account.pubkey),
                "sat": account.msat / 1000,
                "credited": account.credited / 1000,
                "charged": account.charged / 1000,
                "jobs": account.jobs,
            }
            for account in books.accounts()
        ]
        problems = books.audit() if check else []
    run.table(rows, json=json, headers=headers)
    for problem in problems:
        run.fail(BadRecordError(problem))


@command("price", parent=proof, epilog="powdo pow price --target 24 --size 2560")
@click.option("--target", type=click.IntRange(0, 64), required=True, metavar="BITS", help="For BITS.")
@click.option(
    "--size",
    type=click.IntRange(200, 1 << 20),
    default=2560,
    show_default=True,
    metavar="BYTES",
    help="For a gift wrap of BYTES.",
)
@report_options
def price(run: Run, target: int, size: int, json: bool, headers: bool) -> None:
    """Show what the service of [pow] takes for a job, and what it costs this machine on average."""
    from powdo.adapters.miner import make_miner
    from powdo.nips.pow_template import sized
    from powdo.pow_service import terms_of
    from powdo.servers.pow.rules import calibrated

    with closing(make_miner(None, run.settings.pow.threads)) as miner:
        terms = calibrated(terms_of(run.settings.pow), miner)
    blocks = sized(size).blocks
    row = {
        "target": target,
        "bytes": size,
        "blocks": blocks,
        "sat": terms.fee(target, blocks) / 1000,
        "seconds": round(terms.seconds(target, blocks), 3),
        "taken": terms.min_target <= target <= terms.highest(blocks),
    }
    run.table([row], json=json, headers=headers)
