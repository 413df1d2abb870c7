"""
The file for the values that a task returns.
"""

from __future__ import annotations

import os
import tempfile

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp.remote import returnvalues
from jobscheduler_tcp.remote.returnvalues import MAX_SIZE, Returned, ReturnValues, parsed


class ParsedTests(SynchronousTestCase):
    """
    Lines of names and values.
    """

    def test_lines(self) -> None:
        """
        Names and values are trimmed, of blanks of ASCII only; empty lines mean
        nothing.
        """
        data = b" a = 1 \r\n\nb==\n  \nc=\n\xe0=\xc3\xa0 \xc3\x85\n d=x y"
        values = (
            (b"a", b"1"),
            (b"b", b"="),
            (b"c", b""),
            (b"\xe0", b"\xc3\xa0 \xc3\x85"),
            (b"d", b"x y"),
        )
        self.assertEqual(parsed(data), Returned(values))

    def test_twice(self) -> None:
        """
        The last value of a name counts, its first spelling stays.
        """
        self.assertEqual(parsed(b"A=1\nb=2\na=3").values, ((b"A", b"3"), (b"b", b"2")))

    def test_bad(self) -> None:
        """
        A line without '=' or without a name is told, the good ones are kept.
        """
        for line in (b"oops", b"=x", b"\xff" * 9999):
            returned = parsed(b"a=1\n" + line + b"\nb=2")
            self.assertEqual(returned.code, "SCHEDULER-449")
            self.assertLess(len(returned.problem), 1000)
            self.assertEqual(returned.values, ((b"a", b"1"), (b"b", b"2")))

    @given(st.binary())
    def test_anything(self, data: bytes) -> None:
        """
        Any bytes can be read.
        """
        for name, value in parsed(data).values:
            self.assertTrue(name)
            self.assertNotIn(b"\n", name + value)


class FileTests(SynchronousTestCase):
    """
    The file itself.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.file = ReturnValues()
        self.addCleanup(self.file.discard)

    def test_file(self) -> None:
        """
        It is empty, nobody else can read it, and it goes.
        """
        status = os.stat(self.file.path)
        self.assertEqual((status.st_size, status.st_mode & 0o777), (0, 0o600))
        self.assertEqual(self.file.read(), Returned())
        with open(self.file.path, "wb") as file:
            file.write(b"a=1\n")
        self.assertEqual(self.file.read().values, ((b"a", b"1"),))
        self.file.discard()
        self.assertFalse(os.path.exists(self.file.path))

    def test_place(self) -> None:
        """
        It is where C{TMPDIR} says; without that, in memory where the system has
        files there, and else, also when memory is short, with the temporary files.
        """
        place = os.path.abspath(self.mktemp())
        os.mkdir(place)
        self.patch(returnvalues, "_MEMORY", place)
        self.patch(os, "environ", {"TMPDIR": "/somewhere"})
        elsewhere = [ReturnValues()]
        del os.environ["TMPDIR"]
        here = ReturnValues()
        self.assertEqual(os.path.dirname(here.path), place)
        here.discard()
        self.patch(returnvalues, "_place", lambda: os.path.join(place, "full"))
        elsewhere.append(ReturnValues())
        for file in elsewhere:
            self.assertEqual(os.path.dirname(file.path), tempfile.gettempdir())
            file.discard()

    def test_removed(self) -> None:
        """
        A task that removes the file returns nothing.
        """
        os.unlink(self.file.path)
        self.assertEqual(self.file.read(), Returned())
        self.file.discard()

    def test_replaced(self) -> None:
        """
        What a task puts in its place is not opened.
        """
        for replace in (os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)):
            os.unlink(self.file.path)
            replace(self.file.path)
            returned = self.file.read()
            self.assertEqual(returned.values, ())
            self.assertTrue(returned.code)
            if os.path.isdir(self.file.path) and not os.path.islink(self.file.path):
                os.rmdir(self.file.path)
                self.file = ReturnValues()

    def test_tooMuch(self) -> None:
        """
        A file that is too long returns nothing.
        """
        os.truncate(self.file.path, MAX_SIZE + 1)
        returned = self.file.read()
        self.assertEqual((returned.values, returned.code), ((), "SCHEDULER-448"))
