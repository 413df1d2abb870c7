"""
What people get wrong: a line that tells what, where, and what was expected.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.services import CommandTestCase, portOf

# Wrong configurations, with the line that is told and words of what is.
WRONG: list[tuple[bytes, int, str]] = [
    (b"", 1, "the file is empty"),
    (b"\0\1\2", 1, "expected XML"),
    (b"<spooler>\n<config>\n", 3, "expected XML"),
    (b"<spooler>\n<config tcp_port='1' tcp_port='2'/></spooler>", 2, "duplicate attribute"),
    (b"<orders/>", 1, "expected <spooler>, found <orders>"),
    (b'<?xml version="1.0" encoding="klingon"?><spooler/>', 1, "an encoding that is not known"),
    (b'<?xml version="1.0"?>\n<spooler><config spooler_id="\xff"/></spooler>', 2, "expected XML"),
    (b'<!DOCTYPE spooler [<!ENTITY a "b">]>\n<spooler>&a;</spooler>', 1, "a document with a DTD"),
    (b"<spooler>\n<config tcp_port='99999'/></spooler>", 2, "from 0 to 65535, found '99999'"),
    (
        (
            b"<spooler><config><security>\n<allowed_host host='127.0.0.1' level='most'/>"
            b"</security></config></spooler>"
        ),
        2,
        "none, signal, info, no_add, all",
    ),
    (
        (
            b"<spooler><config><process_classes>\n\n<process_class remote_scheduler='here'/>"
            b"</process_classes></config></spooler>"
        ),
        3,
        "expected HOST:PORT, found 'here'",
    ),
]

# Wrong command lines, with words of what is told.
USAGE: list[tuple[tuple[str, ...], str]] = [
    ((), "COMMAND"),
    (("walk",), "'walk'"),
    (("run",), "nothing to run"),
    (("run", "--"), "nothing to run"),
    (("run", "-s", "a", "--", "b"), "not both"),
    (("run", "here:99999", "--", "true"), "99999 is no port"),
    (("run", "--timeout", "soon", "--", "true"), "'soon' is no number of seconds"),
    (("run", "--grace", "-1", "--", "true"), "'-1' is no number of seconds"),
    (("run", "--output-limit", "1X", "--", "true"), "'1X' is no number of bytes"),
    (("run", "--callback-ports", "22", "--", "true"), "between 1024 and 65535"),
    (("run", "--param", "=1", "--", "true"), "'=1' is not NAME=VALUE"),
    (("run", "--nonsense", "--", "true"), "--nonsense"),
    (("version", "--verbose"), "--verbose"),
]


class BadInputTests(CommandTestCase):
    """
    No mistake is answered with a traceback.
    """

    async def test_configuration(self) -> None:
        """
        A wrong file ends twistd with exit code 1 and one line: the file, the
        line, and what was expected there.
        """
        running = [
            Deferred.fromCoroutine(self._configuration(place)) for place in range(len(WRONG))
        ]
        await gatherResults(running, consumeErrors=True)

    async def _configuration(self, place: int) -> None:
        content, line, words = WRONG[place]
        path = self.directory / f"wrong{place}.xml"
        path.write_bytes(content)
        program = self.twistd("-n", "jsremote", "--role", "client", "--config", str(path))
        self.assertEqual(await program.exits(), 1)
        said = (program.output + program.errors).decode()
        self.assertTrue(said.startswith(f"jsremote: {path}:{line}: "), said)
        self.assertIn(words, said)
        self.assertEqual(said.count("\n"), 1, said)

    async def test_unknown(self) -> None:
        """
        Elements and attributes that are not known are told of once each, with
        their place, and the service serves.
        """
        path = self.write(
            "odd.xml",
            "<spooler>\n<config colour='red'>\n<garden/>\n<garden><shed/></garden>\n"
            "<process_classes>\n<process_class name='a' shape='round'/>\n"
            "<process_class name='b' shape='square'/></process_classes></config></spooler>",
        )
        program = self.service("client", "--config", path)
        await portOf(program, "client")
        said = program.output.decode()
        for line, words in ((2, "colour"), (3, "<garden>"), (6, "shape")):
            [told] = [each for each in said.splitlines() if words in each]
            self.assertIn(f"{path}:{line}: ", told)
            self.assertIn("#warn]", told)
        self.assertNotIn("shed", said)

    async def test_commandLine(self) -> None:
        """
        A wrong command line is answered with its usage, exit code 64, and what
        is wrong.
        """
        results = await self.each(*[words for words, _ in USAGE])
        for (code, out, err), (_, words) in zip(results, USAGE, strict=True):
            self.assertEqual((code, out), (64, b""), err)
            self.assertTrue(err.startswith(b"usage: jsremote"), err)
            self.assertIn(words, err.decode().splitlines()[-1])

    async def test_scripts(self) -> None:
        """
        Scripts may be empty, have the line ends of Windows, a NUL, or a
        megabyte; one that cannot be sent is told of, and an endless one is not
        read to its end.
        """
        remote = await self.remote()
        cases: list[tuple[bytes, int, bytes, str]] = [
            (b"", 0, b"", ""),
            (b"echo a\r\nexit 3 #\r\n", 3, b"a\r\n", ""),
            (b"echo a\0b\nprintf 'no end'", 0, b"ab\nno end", ""),
            (b"exit 5 #", 5, b"", ""),
            (b"#!/bin/sh -x\necho a\n", 0, b"a\n", "+ echo a"),
            (b": 23456789012345678\n" * 52_000 + b"echo long\n", 0, b"long\n", ""),
            (b"#" * 5_000_000, 66, b"", "longer than 4194304 bytes"),
            (b"#" * 3_000_000 + b"\0", 126, b"", "start-failed: the start cannot be sent: it has"),
        ]
        scripts = [self.directory / f"script{place}" for place in range(len(cases))]
        for script, (content, *_) in zip(scripts, cases, strict=True):
            script.write_bytes(content)
        cases.append((b"", 66, b"", "cannot read /dev/zero: it is longer than"))
        paths = (*map(str, scripts), "/dev/zero")
        results = await self.each(*[("run", remote, "-s", path) for path in paths])
        for (content, *expected, words), (code, out, err) in zip(cases, results, strict=True):
            self.assertEqual([code, out], expected, (content[:20], err))
            self.assertIn(words, err.decode())
            self.assertLessEqual(err.count(b"\n"), 1)

    async def test_many(self) -> None:
        """
        10,000 parameters arrive; a host that is none is told of in one line.
        """
        remote = await self.remote()
        many = [word for number in range(10_000) for word in ("--param", f"p{number}=v{number}")]
        command = ("--", "sh", "-c", "env | grep -c '^SCHEDULER_PARAM_P[0-9]*=v'")
        wrong = [("run", f"{host}:1", "--", "true") for host in ("a..b", "x" * 300, "\udcff")]
        arrived, *results = await self.each(("run", remote, *many, *command), *wrong)
        self.assertEqual(arrived, (0, b"10000\n", b""))
        for code, _, err in results:
            self.assertEqual((code, err.count(b"\n")), (69, 1), err)
            self.assertIn(b"no name of a host", err)
            self.assertNotIn(b"codec", err)
