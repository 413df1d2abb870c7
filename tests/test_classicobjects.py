"""
What a classic remote finds behind the objects that a client lends it.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.client.classicobjects import (
    ERROR_TEXT,
    EXIT_CODE,
    LOG,
    LOG_LEVEL,
    LOWEST_LEVEL,
    ORDER_PARAMS_XML,
    PARAMS_XML,
    STEP_COUNT,
    TASK_ID,
    LentObjects,
)
from jobscheduler_tcp.wire.classic import (
    MEMBER_NOT_FOUND,
    METHOD,
    NO_INTERFACE,
    PROPERTY_GET,
    PROPERTY_PUT,
    PUT_VALUE,
    UNKNOWN_NAME,
    Done,
    Failed,
    GetId,
    IdGiven,
    InterfaceGiven,
    Invoke,
    Invoked,
    QueryInterface,
    Release,
)
from jobscheduler_tcp.wire.shelljob import Pairs, ShellJob, decodeVariables, encodeVariables
from jobscheduler_tcp.wire.variants import EMPTY, VT, Variant, bstr


class LentObjectsTests(SynchronousTestCase):
    """
    The four objects.
    """

    def setUp(self) -> None:
        """
        Lend them.
        """
        self.lend(orderParameters=(("P", "1"),))

    def lend(self, orderParameters: Pairs | None) -> None:
        """
        Make the objects.
        """
        self.lines: list[tuple[int, str]] = []
        self.values: list[Pairs] = []
        self.objects = LentObjects(
            ShellJob(taskId="17"), (("A", "ä"),), orderParameters, listener=self
        )
        self.spooler, self.job, self.task, self.log = (
            each.value.id for each in self.objects.references().value.items
        )

    def logged(self, level: int, text: str) -> None:
        """
        Remember a line.
        """
        self.lines.append((level, text))

    def valuesReturned(self, values: Pairs) -> None:
        """
        Remember values.
        """
        self.values.append(values)

    def get(self, number: int) -> Variant:
        """
        Get a property of the task.
        """
        answer = self.objects.called(Invoke(self.task, number, PROPERTY_GET))
        assert isinstance(answer, Invoked)
        self.assertEqual(answer.result, 0)
        return answer.value

    def put(self, number: int, text: str) -> object:
        """
        Put a property of the task.
        """
        call = Invoke(self.task, number, PROPERTY_PUT, (bstr(text),), (PUT_VALUE,))
        return self.objects.called(call)

    def test_names(self) -> None:
        """
        Members have numbers, those of the protocol document; an unknown one has
        a result of its own.
        """
        for thing, name, number in (
            (self.task, "Params_xml", 35),
            (self.task, "order_PARAMS_xml", 36),
            (self.task, "Set_error_code_and_text", 26),
            (self.log, "log", 14),
            (self.log, "debug3", 7),
            (self.log, "warn", 12),
        ):
            self.assertEqual(self.objects.called(GetId(thing, name)), IdGiven(0, number))
        for thing in (self.task, self.log, self.spooler, self.job):
            unknown = self.objects.called(GetId(thing, "no_such_name"))
            self.assertEqual(unknown, IdGiven(UNKNOWN_NAME))

    def test_parameters(self) -> None:
        """
        Parameters are got as sets of variables; what is put is merged, and told.
        """
        self.assertEqual(decodeVariables(self.get(PARAMS_XML).value), (("A", "ä"),))
        self.assertEqual(decodeVariables(self.get(ORDER_PARAMS_XML).value), (("P", "1"),))
        returned = (("p", "2"), ("Q", "3"))
        self.assertEqual(self.put(ORDER_PARAMS_XML, encodeVariables(returned)), Invoked())
        self.assertEqual(self.values, [returned])
        merged = (("P", "2"), ("Q", "3"))
        self.assertEqual(decodeVariables(self.get(ORDER_PARAMS_XML).value), merged)
        self.put(PARAMS_XML, encodeVariables((("B", ""),)))
        self.assertEqual(decodeVariables(self.get(PARAMS_XML).value), (("A", "ä"), ("B", "")))

    def test_noOrder(self) -> None:
        """
        Without an order its parameters are an empty text, and what is put is
        ignored.
        """
        self.lend(orderParameters=None)
        self.assertEqual(self.get(ORDER_PARAMS_XML), bstr(""))
        self.assertEqual(
            self.put(ORDER_PARAMS_XML, encodeVariables((("a", "b"),))), Invoked(0, EMPTY)
        )
        self.assertEqual(self.values, [])
        self.assertEqual(self.get(ORDER_PARAMS_XML), bstr(""))

    def test_nonsense(self) -> None:
        """
        A set of variables that is none is an error, and no more.
        """
        answer = self.put(PARAMS_XML, "<a><b/></a>")
        assert isinstance(answer, Failed)
        self.assertEqual(answer.code, "SCHEDULER-409")
        self.assertEqual(self.values, [])

    def test_task(self) -> None:
        """
        The other members of the task.
        """
        self.assertEqual(self.get(TASK_ID), Variant(VT.I4, 17))
        self.assertEqual(self.get(STEP_COUNT), Variant(VT.INT, 1))
        self.assertEqual(self.get(EXIT_CODE), Variant(VT.INT, 0))
        put = Invoke(self.task, EXIT_CODE, PROPERTY_PUT, (Variant(VT.INT, 4),), (PUT_VALUE,))
        self.assertEqual(self.objects.called(put), Invoked())
        error = Invoke(self.task, ERROR_TEXT, METHOD, (bstr("X-1"), bstr("oops")))
        self.assertEqual(self.objects.called(error), Invoked())
        self.assertEqual(self.lines, [(2, "X-1  oops")])

    def test_log(self) -> None:
        """
        Lines are told with their level, however they are logged.
        """
        log = Invoke(self.log, LOG, METHOD, (Variant(VT.I4, 0), bstr("a\nb")))
        self.assertEqual(self.objects.called(log), Invoked())
        for number in (0, 1, 9, 10, 11, 12, 13):
            self.objects.called(Invoke(self.log, number, METHOD, (bstr("x"),)))
        levels = [0, 0, -9, -1, -1, 0, 1, 2]
        self.assertEqual([level for level, _ in self.lines], levels)
        level = self.objects.called(Invoke(self.log, LOG_LEVEL, PROPERTY_GET))
        self.assertEqual(level, Invoked(0, Variant(VT.I4, LOWEST_LEVEL)))

    def test_unknown(self) -> None:
        """
        Unknown members, objects and interfaces have answers of their own.
        """
        for thing in (self.task, self.log, self.spooler):
            answer = self.objects.called(Invoke(thing, 99, METHOD, (bstr(""),)))
            assert isinstance(answer, Invoked)
            self.assertEqual(answer.result, MEMBER_NOT_FOUND)
        answer = self.objects.called(Invoke(12345, LOG, METHOD))
        assert isinstance(answer, Failed)
        self.assertEqual(answer.code, "Z-REMOTE-102")
        query = self.objects.called(QueryInterface(self.log, bytes(16)))
        self.assertEqual(query, InterfaceGiven(NO_INTERFACE))

    def test_release(self) -> None:
        """
        An object that was released is gone.
        """
        self.assertEqual(self.objects.called(Release(self.log)), Done())
        again = self.objects.called(Release(self.log))
        assert isinstance(again, Failed)
        self.assertEqual(again.code, "Z-REMOTE-120")
