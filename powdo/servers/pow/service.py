"""The service itself: takes requests in, has them paid for, mines them by slices, and squares the books.

Rules:
- the loop never waits for the miner or the database: each has a thread;
- a job is paid for before its first slice, and ended in the books before its event is sent;
- who asks for the same again joins the job under way, or gets what it gave, without paying twice;
- a job that nobody waits for any more is ended at once, and charged for its share of the expected work;
- what is under way when the service ends is charged nothing;
- a bug of ours ends the job that met it and gives its fee back; the others, and the service, go on.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from powdo.errors import PowdoError
from powdo.nips.event import Unsigned
from powdo.nips.pow_messages import insufficient
from powdo.nips.pow_search import Miner, Search, Slice
from powdo.nips.pow_session import Request
from powdo.nips.pow_terms import partial_fee
from powdo.servers.pow.jobs import Job, Listener, Turns, request_id
from powdo.servers.pow.rules import Books, Rules

T = TypeVar("T")
SLICE = 0.1
#: How long what a job gave can be fetched by whoever lost the connection.
KEPT = 600
_SWEEP = 60.0
#: Seconds before mining goes on after a bug: one that comes at once again fills no log.
PAUSE = 5.0
_BUG = "error: the service failed at this request; the fee goes back"
#: RuntimeError is what the books raise where a constraint is hurt.
_FAILURES = (PowdoError, RuntimeError)


def _reason(error: Exception) -> str:
    """Return the words of *error*, with its kind where it was raised by accident."""
    return error.message if isinstance(error, PowdoError) else f"{type(error).__name__}: {error}"


class Service:
    """One running service; *name* is the same each time it starts, so that it finds its open jobs."""

    def __init__(
        self, miner: Miner, books: Books, rules: Rules, *, name: str, warn: Callable[[str], None]
    ) -> None:
        self.rules = rules
        self._miner = miner
        self._books = books
        self._name = name
        self._warn = warn
        self._mining = ThreadPoolExecutor(1, "pow-slice")
        self._writing = ThreadPoolExecutor(1, "pow-books")
        self._turns = Turns()
        self._jobs: dict[str, Job] = {}
        self._count: Counter[str] = Counter()
        self._current: Job | None = None
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def queue(self) -> tuple[int, float]:
        """How many jobs there are, and the seconds they will take on average."""
        return len(self._jobs), sum(job.expected for job in self._jobs.values())

    # --- from the connections ---

    def submit(self, request: Request, listener: Listener) -> Callable[[], None] | None:
        """Take *request* in; *listener* is told what became of it, once, unless what is returned is called.

        None is returned where *listener* has been told that it is refused.
        """
        refusal = self._refusal(request)
        name = request_id(request)
        job = self._jobs.get(name)
        if job is None and refusal is None:
            refusal = self._crowd(request)
        if refusal is not None:
            listener(refusal)
            return None
        if job is None:
            job = self._new_job(request, name)
            self._spawn(self._admit(job))
        job.listeners.append(listener)
        return partial(self._leave, job, listener)

    def _refusal(self, request: Request) -> str | None:
        if self._stopping:
            return "error: the service is shutting down"
        if self.rules.members_only and not self._is_member(request):
            return "restricted: not on the allowlist"
        return None

    def _is_member(self, request: Request) -> bool:
        return any(key in self.rules.members for key in request.keys)

    def _crowd(self, request: Request) -> str | None:
        """Return why there is no room for another job."""
        if self._count[request.payer] >= self.rules.jobs_per_pubkey:
            return f"rate-limited: at most {self.rules.jobs_per_pubkey} requests at once"
        _, seconds = self.queue
        own = self.rules.terms.seconds(request.target, request.blocks)
        if self._jobs and seconds + own > self.rules.backlog:
            return f"rate-limited: {seconds:.0f} seconds of work wait already, try again later"
        return None

    def _new_job(self, request: Request, name: str) -> Job:
        terms, target, blocks = self.rules.terms, request.target, request.blocks
        is_free = not self.rules.members_pay and self._is_member(request)
        job = Job(
            request=request,
            name=name,
            fee=0 if is_free else terms.fee(target, blocks),
            expected=terms.seconds(target, blocks),
            limit=terms.limit(target, blocks),
            search=Search(request.event, target, secrets.randbits(64)),
        )
        self._jobs[name] = job
        self._count[request.payer] += 1
        return job

    def _leave(self, job: Job, listener: Listener) -> None:
        """Forget who waits; a job for nobody is ended, its slice at once."""
        if listener in job.listeners:
            job.listeners.remove(listener)
        if job.listeners:
            return
        if job is self._current:
            self._miner.stop()
        elif job in self._turns:
            self._cancel(job)

    def _cancel(self, job: Job) -> None:
        """End a job that nobody waits for, charged for its share of the expected work."""
        self._end(job, "", partial_fee(job.fee, job.request.target, job.search.attempts))

    # --- the books ---

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_books(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, call)

    async def _admit(self, job: Job) -> None:
        """Have *job* paid for and queue it, unless what it wants is there already."""
        try:
            await self._take_in(job)
        except Exception as error:  # in a task of its own: nobody else would tell who waits
            self._warn(f"a request failed: {_reason(error)}")
            self._end(job, _BUG, 0)

    async def _take_in(self, job: Job) -> None:
        request = job.request
        try:
            since = int(time.time()) - KEPT
            kept = await self._in_books(partial(self._books.result, request.payer, job.name, since))
            if kept is not None:
                self._finish(job, Unsigned.from_fields(json.loads(kept)))
                return
            begin = partial(self._books.begin, job.id, self._name, request.payer, job.fee, job.name)
            balance = await self._in_books(begin)
        except _FAILURES as error:
            self._warn(f"a request is refused: {error}")
            self._finish(job, "error: the books cannot be written now, try again later")
            return
        if balance is not None:
            self._finish(job, insufficient(balance, job.fee))
            return
        self._turns.add(job)
        self._work.set()
        if not job.listeners:
            self._cancel(job)

    async def _settle(
        self, job: Job, outcome: Unsigned | str, *, charged: int | None, result: str | None = None
    ) -> None:
        """End *job* in the books, then tell."""
        try:
            await self._in_books(partial(self._books.end, job.id, charged, result))
        except Exception as error:  # whatever it is, somebody waits
            self._warn(f"the fee of a job goes back at the next start: {_reason(error)}")
            outcome = "error: the books cannot be written now; the fee goes back"
        self._finish(job, outcome)

    def _finish(self, job: Job, outcome: Unsigned | str) -> None:
        self._forget(job)
        job.tell(outcome)

    def _forget(self, job: Job) -> None:
        """Let nobody join *job* any more, and another take its place."""
        if self._jobs.get(job.name) is not job:
            return
        del self._jobs[job.name]
        self._count[job.request.payer] -= 1
        if not self._count[job.request.payer]:
            del self._count[job.request.payer]

    # --- the work ---

    async def open(self) -> None:
        """Give back what was paid for the jobs that a crash cut off. Raises: PowdoError."""
        await self._in_books(partial(self._books.recover, self._name))

    async def run(self) -> None:
        """Mine until cancelled; `open` comes first. A bug is told, and mining goes on after a pause."""
        sweeper = asyncio.get_running_loop().create_task(self._sweep())
        try:
            while True:
                try:
                    await self._run()
                except Exception as error:  # by whichever request it came: the others are not to blame
                    self._warn(f"mining failed, and goes on: {_reason(error)}")
                    self._give_up()
                    await asyncio.sleep(PAUSE)
        finally:
            sweeper.cancel()

    async def _run(self) -> None:
        while True:
            job = self._current = self._turns.next()
            if job is None:
                self._work.clear()
                await self._work.wait()
            else:
                await self._turn(job)
                self._current = None  # not where it raises: the job is to blame then

    def _give_up(self) -> None:
        """End the job whose turn it was; all of them where it was none's."""
        job, self._current = self._current, None
        for blamed in self._turns.all() if job is None else [job]:
            self._end(blamed, _BUG, 0)

    async def _turn(self, job: Job) -> None:
        """Work one slice of *job*."""
        self._miner.resume()
        template, first = job.search.work(int(time.time()))
        begin = time.monotonic()
        work = partial(self._miner.work, template, first, SLICE)
        try:
            done: Slice = await asyncio.get_running_loop().run_in_executor(self._mining, work)
            mined = job.search.took(done)
        except (OSError, ValueError, RuntimeError) as error:
            self._warn(f"the miner failed: {error}")
            self._end(job, "error: the miner failed; the fee was given back", 0)
            return
        job.spent += time.monotonic() - begin
        if mined is not None:
            self._turns.remove(job)
            text = json.dumps(mined.to_json(), ensure_ascii=False, separators=(",", ":"))
            self._spawn(self._settle(job, mined, charged=None, result=text))
        elif not job.listeners:
            self._cancel(job)
        elif job.spent >= job.limit:
            self._end(job, f"error: nothing was found within {job.limit:.0f} s; the fee was given back", 0)

    def _end(self, job: Job, notice: str, charged: int) -> None:
        self._turns.remove(job)
        self._forget(job)
        self._spawn(self._settle(job, notice, charged=charged))

    async def _sweep(self) -> None:
        while True:
            try:
                await self._in_books(partial(self._books.forget_results, int(time.time()) - KEPT))
            except _FAILURES as error:
                self._warn(f"what was mined is kept for longer: {error}")
            await asyncio.sleep(_SWEEP)

    async def close(self) -> None:
        """Take nothing more in, end what is under way and charge nothing for it; `run` must have ended."""
        self._stopping = True
        self._miner.stop()
        while True:
            while (job := self._turns.next()) is not None:
                self._end(job, "error: the service is shutting down; the fee was given back", 0)
            if not self._tasks:
                break
            await asyncio.wait(tuple(self._tasks))
        self._mining.shutdown(wait=True)
        self._writing.shutdown(wait=True)
        self._miner.close()
