"""
What C{jsremote doctor} says of a task: from its outcome to the legs that it tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobscheduler_tcp.cli.diagnosis import Diagnosis, Verdict
from jobscheduler_tcp.cli.reasons import NEXT_STEP
from jobscheduler_tcp.messages import CallbackMode
from jobscheduler_tcp.outcome import Outcome, Reason

# What is run.
PROGRAM = "/bin/true"

_OK, _WARNING, _ERROR, _UNTRIED = Verdict

# What the remote, or our own clock, says of the way back.
WAY_BACK = {
    Reason.CALLBACK_REFUSED: "refused",
    Reason.CALLBACK_FILTERED: "filtered",
    Reason.CALLBACK_TIMEOUT: "no call came",
    Reason.CALLBACK_WRONG_LISTENER: "wrong listener",
}

# Outcomes that say that the task was not started.
_NOTHING_RAN = {
    *(Reason.REJECTED_AUTH, Reason.REJECTED_CAPACITY, Reason.REJECTED_DRAINING),
    *(Reason.REJECTED_VERSION, Reason.REMOTE_UNREACHABLE, Reason.NOT_STARTED),
    *(Reason.CANCELLED, Reason.START_FAILED),
}


def notAuthorised(found: Diagnosis, text: str) -> None:
    """
    The remote does not let us in, or not far enough.
    """
    found.add("authorisation", _ERROR, text, step=NEXT_STEP[Reason.REJECTED_AUTH])


class TaskLegs:
    """
    The legs of a task.
    """

    def __init__(self, found: Diagnosis, ports: str) -> None:
        """
        @param ports: the callback ports, for people.
        """
        self.found = found
        self._ports = ports

    def authorisation(self, outcome: Outcome) -> None:
        """
        May we start tasks?
        """
        if outcome.reason is Reason.REJECTED_AUTH:
            notAuthorised(self.found, outcome.text)
        elif outcome.reason in (Reason.REMOTE_UNREACHABLE, Reason.NOT_STARTED):
            self.found.add("authorisation", _UNTRIED, "the remote was not asked")
        else:
            self.found.add("authorisation", _OK, "we may start tasks there")

    def listening(self, port: int, own: str, outcome: Outcome, trouble: Iterable[str]) -> None:
        """
        Is there a callback port?

        @param port: its number, 0 for none.
        @param own: where it is, for people.
        @param trouble: what the callback ports complained of.
        """
        name = "callback port"
        for text in trouble:
            step = text.rpartition(": ")[2] if "sysctl" in text else ""
            self.found.add(name, _WARNING, text, step=step)
        if port:
            self.found.add(name, _OK, f"listening on {own}", port=port)
        elif outcome.reason is Reason.NOT_STARTED:
            step = "choose ports that are free with --callback-ports"
            self.found.add(name, _ERROR, outcome.text, step=step, errno=outcome.errno)
        else:
            self.found.add(name, _UNTRIED, "none was needed")

    def called(self, mode: str, peer: str, back: str, seconds: float) -> None:
        """
        The confirmation connection stands.

        @param peer: the remote's end of it.
        @param back: ours.
        """
        name = "connect-back"
        if mode == CallbackMode.PASSIVE.value:
            text = f"none: we dialled {peer} once more (mode passive)"
            self.found.add(name, _OK, text, seconds, mode=mode, peer=peer)
        else:
            text = f"{peer} to {back}" + (f" (mode {mode})" if mode != "own" else "")
            self.found.add(name, _OK, text, seconds, mode=mode, peer=peer, own=back)

    def noCall(
        self, outcome: Outcome, address: str, back: str, seconds: float, *, passive: bool
    ) -> None:
        """
        The remote did not get through.

        @param address: of the remote.
        @param back: where it should have called.
        @param passive: whether a task can do without.
        """
        kind = WAY_BACK.get(outcome.reason)
        if kind is None:
            self.found.add("connect-back", _UNTRIED, "the remote did not call")
            return
        # What the remote called is worth a word if it is not where we listen.
        said = outcome.text.removeprefix(f"{back}: ")
        who = "" if outcome.reason is Reason.CALLBACK_TIMEOUT else "the remote says "
        text = f"{address} to {back} {kind}: {who}{said}"
        if outcome.errno:
            text += f" (errno {outcome.errno})"
        self.found.add(
            *("connect-back", _WARNING if passive else _ERROR, text, seconds),
            step=NEXT_STEP[outcome.reason].format(remote=address, ports=self._ports),
            reason=outcome.reason.value,
            errno=outcome.errno,
            peer=address,
            own=back,
        )

    def ran(self, outcome: Outcome, seconds: float, mode: str) -> None:
        """
        Did the task run?
        """
        if outcome.succeeded:
            text = f"{PROGRAM} ran in mode {mode}, and its end was acknowledged"
            facts: dict[str, Any] = {"mode": mode, "pid": outcome.pid}
            self.found.add("task", _OK, text, seconds, reason=outcome.reason.value, **facts)
        elif outcome.reason in WAY_BACK or outcome.reason in _NOTHING_RAN:
            text = f"nothing was executed ({outcome.reason.value})"
            said = any(leg.verdict is _ERROR for leg in self.found.legs)
            self.found.add(
                "task",
                _UNTRIED if said else _ERROR,
                text if said or not outcome.text else f"{text}: {outcome.text}",
                step="" if said else self._step(outcome),
                reason=outcome.reason.value,
            )
        else:
            text = f"{outcome.reason.value}: {outcome.text}"
            if outcome.exitCode is not None:
                text += f" exit code {outcome.exitCode}"
            step = self._step(outcome)
            self.found.add("task", _ERROR, text, step=step, reason=outcome.reason.value)

    def _step(self, outcome: Outcome) -> str:
        return NEXT_STEP[outcome.reason].format(remote=self.found.remote, ports=self._ports)
