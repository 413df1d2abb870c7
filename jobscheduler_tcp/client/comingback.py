"""
A client comes back for a task: after its connections broke, or in another life.
"""

from __future__ import annotations

from dataclasses import replace
from os import urandom
from random import random
from typing import Protocol as TypingProtocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobscheduler_tcp.client import verdicts
from jobscheduler_tcp.client.callback import CallbackFactory
from jobscheduler_tcp.client.callbackmodes import BLOCKED
from jobscheduler_tcp.client.connection import CommandConnection
from jobscheduler_tcp.client.hearing import Hearing
from jobscheduler_tcp.client.jobinputs import JobInputs, JobListener
from jobscheduler_tcp.client.means import Means
from jobscheduler_tcp.client.ports import CallbackPort
from jobscheduler_tcp.client.processclass import ProcessClass
from jobscheduler_tcp.client.standing import StandingTask
from jobscheduler_tcp.client.taskchannel import TaskChannel
from jobscheduler_tcp.client.taskkey import TaskKey
from jobscheduler_tcp.errors import CommandRefused, JobSchedulerError, NoConfirmation
from jobscheduler_tcp.heartbeat import SILENCE
from jobscheduler_tcp.messages import Answer, AttachRefused, AttachTask, CallbackMode
from jobscheduler_tcp.outcome import Outcome, Reason
from jobscheduler_tcp.proof import TOKEN_SIZE

# Seconds until the first attempt, and between attempts in the long run; a bit
# more or less, so that the tasks of a remote do not come back in step.
_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0


class Absent(TypingProtocol):
    """
    What is asked of a job's core.
    """

    means: Means
    processClass: ProcessClass
    connection: CommandConnection
    task: str
    mode: CallbackMode
    sharedPort: int
    listener: JobListener | None
    port: CallbackPort | None

    inputs: JobInputs
    hearing: Hearing

    def cameBack(self) -> None:
        """
        The task is confirmed again.
        """


class ComingBack:
    """
    The attempts of one job, until its task is confirmed again, or certainly will
    not be.
    """

    _log = Logger()

    def __init__(
        self, job: Absent, key: TaskKey, channel: TaskChannel, verdict: Outcome, seconds: float
    ) -> None:
        """
        @param channel: of the task, which may never have been open.
        @param verdict: what the outcome is if nobody can ever tell.
        @param seconds: for which to try.
        """
        self._job = job
        self._key = key
        self._channel = channel
        self._verdict = verdict
        self._seconds = seconds
        # The remote may notice later than we that the connection is gone.
        self._until = job.means.clock.seconds() + seconds + SILENCE
        self._tried: list[CallbackMode] = []
        self._fate: Deferred[Outcome | None] | None = None
        self._timer: IDelayedCall | None = None
        self._answered = self._isBack = False
        self._life: Deferred[None] | None = None

    def begin(self) -> None:
        """
        Try, again and again.
        """
        self._log.info(
            "Coming back to task {task} at {remote}: {verdict}",
            task=self._job.task,
            remote=self._job.processClass.address,
            verdict=verdicts.told(self._verdict),
        )
        self._life = Deferred.fromCoroutine(self._run())
        self._life.addErrback(self._broken)

    def stop(self) -> None:
        """
        Try no more.
        """
        life, self._life = self._life, None
        if life is not None:
            life.cancel()

    def _broken(self, reason: Failure) -> None:
        if not reason.check(CancelledError):
            self._log.failure("The client cannot come back to a task", reason)
            self._life = None
            self._job.inputs.hopeless(self._verdict)

    async def _run(self) -> None:
        job = self._job
        clock = job.means.clock
        delay = _FIRST_DELAY
        self._drop()
        while clock.seconds() < self._until:
            await deferLater(clock, delay * (0.5 + random()))
            delay = min(delay * 2, _LAST_DELAY)
            try:
                outcome = await self._attempt()
            finally:
                if not self._isBack:
                    self._drop()
            if self._isBack:
                return
            if outcome is not None:
                self._life = None
                job.inputs.hopeless(outcome)
                return
        self._life = None
        text = f"{self._verdict.text}; nobody came back to it for {self._seconds:g} seconds"
        job.inputs.hopeless(replace(self._verdict, text=text))

    async def _attempt(self) -> Outcome | None:
        """
        One attempt.

        @return: C{None} if it succeeded, or the next may.
        """
        job = self._job
        self._answered = False
        self._fate = Deferred()
        self._channel.onAttached = self._attached
        request: Deferred[Answer] | None = None
        try:
            message = await self._listen()
            request = job.connection.request(message)
            request.addCallbacks(self._answer, self._noAnswer)
            return await self._fate
        except (JobSchedulerError, OSError) as error:
            # No port, no standing connection, no remote: that may change.
            self._log.debug("Task {task}: {error}", task=job.task, error=error)
            if isinstance(error, NoConfirmation):
                self._tried.append(job.mode)
            return None
        finally:
            self._fate = None
            self._stopTimer()
            if request is not None:
                job.connection.withdraw(request)

    async def _listen(self) -> AttachTask:
        """
        Be ready to hear before we speak.
        """
        job = self._job
        means = job.means
        if job.connection.welcome is None:
            # As long as the remote cannot be reached, no port is taken.
            await job.connection.greet()
        self._chooseMode()
        token = urandom(TOKEN_SIZE)
        common = (*self._channel.offsets, self._key.secret, self._key.instance, job.mode)
        if job.mode is CallbackMode.OWN:
            factory = CallbackFactory(
                job.task,
                token,
                job.hearing,
                means.heart,
                means.clock,
                window=means.window,
                watcher=self,
                log=means.strangers,
                channel=self._channel,
                lasting=True,
            )
            job.port = await means.ports.acquire(factory)
            job.listener = factory
            host = job.processClass.advertise
            return AttachTask(0, job.task, job.port.number, token, *common, host=host)
        standing = means.standings.of(job.processClass, job.connection, job.mode)
        protocol = await standing.open()
        if job.mode is CallbackMode.SHARED:
            job.sharedPort = protocol.port
        job.listener = listener = protocol.expect(
            job.task, job.hearing, self, channel=self._channel, lasting=True
        )
        return AttachTask(0, job.task, 0, token, *common, connection=listener.subject)

    def _chooseMode(self) -> None:
        job = self._job
        choice = job.processClass.callback
        if job.mode in self._tried:
            other = choice.after(self._tried)
            if other is None:
                self._tried.clear()
            job.mode = other or choice.best

    def _drop(self) -> None:
        """
        Hear nothing more from the last listener.
        """
        job = self._job
        listener, job.listener = job.listener, None
        if isinstance(listener, (CallbackFactory, StandingTask)):
            listener.dismiss()
        port, job.port = job.port, None
        if port is not None:
            port.release()
        job.sharedPort = 0

    def _attached(self) -> None:
        """
        The task is confirmed again.
        """
        job = self._job
        self._isBack = True
        self._channel.onAttached = _nothing
        if isinstance(job.listener, (CallbackFactory, StandingTask)):
            job.listener.watcher = job.inputs
        self._log.info("Back at task {task}", task=job.task)
        job.cameBack()
        self._settle(None)

    def _answer(self, answer: Answer) -> None:
        job = self._job
        if not isinstance(answer, AttachRefused):
            self._answered = True
            self._timer = job.means.clock.callLater(SILENCE, self._settle, None)
            self._isStillThere()
        elif not answer.held:
            self._settle(Outcome(answer.reason, answer.text, errno=answer.errno))
        else:
            self._log.debug("Task {task}: {answer}", task=job.task, answer=answer)
            if answer.reason in BLOCKED:
                self._tried.append(job.mode)
            if isinstance(job.listener, StandingTask):
                # The remote has lost the connection, which we shall notice soon.
                standing = job.means.standings.of(job.processClass, job.connection, job.mode)
                standing.discard(job.listener.subject)
            self._settle(None)

    def _isStillThere(self) -> None:
        # Who was shown our proof is the remote, or a stranger.
        listener = self._job.listener
        if self._answered and (
            listener is None or (listener.proven is None and not listener.claims)
        ):
            self._settle(None)

    def _noAnswer(self, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, CommandRefused) and verdicts.isRefused(reason):
            self._settle(Outcome(Reason.LOST, f"the remote does not give it back: {error}"))
        else:
            self._settle(None)

    def _settle(self, outcome: Outcome | None) -> None:
        fate, self._fate = self._fate, None
        if fate is not None:
            fate.callback(outcome)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # -------------------------------------------------- what the listener tells

    def callerClaims(self) -> None:
        """
        See L{CallbackWatcher<jobscheduler_tcp.client.callback.CallbackWatcher>}.
        """

    def claimLost(self) -> None:
        """
        See L{CallbackWatcher<jobscheduler_tcp.client.callback.CallbackWatcher>}.
        """
        self._isStillThere()

    def callerProven(self) -> None:
        """
        See L{CallbackWatcher<jobscheduler_tcp.client.callback.CallbackWatcher>}.
        """
        if self._job.port is not None:
            self._job.port.stopListening()

    def endAcknowledged(self) -> None:
        """
        See L{CallbackWatcher<jobscheduler_tcp.client.callback.CallbackWatcher>}.
        """

    def callerGone(self) -> None:
        """
        See L{CallbackWatcher<jobscheduler_tcp.client.callback.CallbackWatcher>}.
        """
        self._settle(None)


def _nothing() -> None:
    pass
