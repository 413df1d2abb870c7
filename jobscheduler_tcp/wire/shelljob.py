"""
What travels inside the calls of a shell job of the classic dialect: the
description of the job, variable sets, the result (protocol document 5.3, 5.5,
5.8).
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterable
from dataclasses import dataclass

from jobscheduler_tcp.errors import RemoteProtocolError
from jobscheduler_tcp.wire.documents import (
    Element,
    Limits,
    escapeAttribute,
    escapeText,
    isCarried,
    parse,
)
from jobscheduler_tcp.wire.variants import EMPTY, VT, Array, Variant

_PROLOG = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
# The array of construct has room for 18 elements and 8 for each monitor (5.3).
CONSTRUCT_SIZE = 18
# A document inside a call is bounded by the size of the call; the environment
# and the parameters of a job have one element for each variable.
LIMITS = Limits(elements=65536)
STATE_TEXT_SIZE = 100  # protocol document 8.1

# The documents as the engines write them, of characters that need no other
# spelling. A parser takes ten times as long; it has all others.
_PLAIN = r"[ !#-%'-;=?-\xff]*"
_NOT_PLAIN = re.compile(r"[^ !#-%'-;=?-\xff]")
_VARIABLE = re.compile(f'<variable name="({_PLAIN})" value="({_PLAIN})"/>')
_VARIABLES = re.compile(
    re.escape(_PROLOG)
    + r'<([a-z._]+) count="\d+" estimated_byte_count="\d+"'
    + rf'(?:/>|>((?:<variable name="{_PLAIN}" value="{_PLAIN}"/>)*)</\1>)\n?'
)
_SOURCE = re.compile(
    re.escape(_PROLOG)
    + rf'<source><source_part linenr="(\d{{1,9}})">((?:{_PLAIN}[\t\n"])*{_PLAIN})'
    + r"</source_part></source>\n?"
)
_RESULT = re.compile(
    re.escape(_PROLOG)
    + r'<process\.result spooler_process_result="(?:true|false)" exit_code="(-?\d{1,9})"/>'
)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShellJob:
    """
    What C{construct} says of a job.

    @ivar script: the texts of all parts of the script.
    @ivar line: where the script stands in the configuration of the client.
    @ivar cdata: whether the script travels as a CDATA section, as the engines
        write it where their configuration has one.
    @ivar taskId: the client's number of the task.
    @ivar hasOrder: whether the task works on an order.
    @ivar program: of C{<process file=>}, instead of a script.
    @ivar arguments: its parameter line, before substitution.
    @ivar prefix: of the environment variables for parameters; C{None} for
        C{SCHEDULER_PARAM_}.
    @ivar monitors: whether the job has monitors, which need another kind of
        remote.
    """

    script: str = ""
    line: int = 1
    cdata: bool = False
    job: str = ""
    taskId: str = ""
    environment: Pairs = ()
    hasOrder: bool = False
    program: str = ""
    arguments: str = ""
    logFile: str = ""
    ignoreError: bool = False
    ignoreSignal: bool = False
    prefix: str | None = None
    language: str = "shell"
    javaClass: str = ""
    recompile: bool = True
    monitors: bool = False

    @property
    def isShell(self) -> bool:
        """
        Whether a remote for shell jobs can run it.
        """
        return (self.language.lower() == "shell" or bool(self.program)) and not self.monitors


def encodeConstruct(job: ShellJob) -> tuple[Variant, ...]:
    """
    The elements of the array of C{construct}.
    """
    texts = [
        f"language={job.language}",
        "com_class=",
        "filename=",
        f"java_class={job.javaClass}",
        "java_options= ",
        "java_class_path=",
        f"recompile={job.recompile:d}",
        f"script={_source(job)}",
        f"job={job.job}",
        f"task_id={job.taskId}",
        f"environment={encodeVariables(job.environment, 'environment')}",
    ]
    if job.hasOrder:
        texts.append("has_order=1")
    texts += [
        f"process.filename={job.program}",
        f"process.param_raw={job.arguments}",
        f"process.log_filename={job.logFile}",
        f"process.ignore_error={job.ignoreError:d}",
        f"process.ignore_signal={job.ignoreSignal:d}",
    ]
    if job.prefix is not None:
        texts.append(f"process.shell_variable_prefix={job.prefix}")
    elements = [Variant(VT.BSTR, text) for text in texts]
    return tuple(elements + [EMPTY] * (CONSTRUCT_SIZE - len(elements)))


def decodeConstruct(value: Variant) -> ShellJob:
    """
    The job that C{construct} describes. Keys that are not known are ignored.

    @raise RemoteProtocolError: it is no such description.
    """
    if not isinstance(value.value, Array) or value.value.type != VT.VARIANT:
        raise RemoteProtocolError("construct needs an array of variants")
    found: dict[str, str] = {}
    for element in value.value.items:
        if element.type == VT.EMPTY:
            continue
        if element.type != VT.BSTR or "=" not in element.value:
            raise RemoteProtocolError("an element of construct is not key=value")
        key, _, text = element.value.partition("=")
        found[key] = text
    script, line = _script(found.get("script", ""))
    return ShellJob(
        script=script,
        line=line,
        cdata="<![CDATA[" in found.get("script", ""),
        job=found.get("job", ""),
        taskId=found.get("task_id", ""),
        environment=decodeVariables(found.get("environment", "")),
        hasOrder=found.get("has_order") == "1",
        program=found.get("process.filename", ""),
        arguments=found.get("process.param_raw", ""),
        logFile=found.get("process.log_filename", ""),
        ignoreError=found.get("process.ignore_error") == "1",
        ignoreSignal=found.get("process.ignore_signal") == "1",
        prefix=found.get("process.shell_variable_prefix"),
        language=found.get("language", ""),
        javaClass=found.get("java_class", ""),
        recompile=found.get("recompile") != "0",
        monitors=any(key.startswith("monitor.") for key in found),
    )


def encodeVariables(
    pairs: Iterable[tuple[str, str]], root: str = "sos.spooler.variable_set"
) -> str:
    """
    A set of variables as the engines write it.
    """
    variables = tuple(pairs)
    if not variables:
        return f'{_PROLOG}<{root} count="0" estimated_byte_count="0"/>\n'
    count = f'count="{len(variables)}" estimated_byte_count="{_estimate(variables)}"'
    if _NOT_PLAIN.search("".join([name + value for name, value in variables])) is None:
        inner = "".join([f'<variable name="{name}" value="{value}"/>' for name, value in variables])
    else:
        inner = "".join([_variable(name, value) for name, value in variables])
    return f"{_PROLOG}<{root} {count}>{inner}</{root}>\n"


def decodeVariables(text: str) -> Pairs:
    """
    The names and values of a set; of an empty text, none.

    @raise RemoteProtocolError: it is no set of variables.
    """
    if not text.strip():
        return ()
    plain = _VARIABLES.fullmatch(text)
    if plain is not None and plain[0].count("<variable ") < LIMITS.elements:
        return tuple(_VARIABLE.findall(plain[2] or ""))
    variables = []
    for child in _parse(text).children:
        if child.name not in ("variable", "param"):
            raise RemoteProtocolError(
                f"SCHEDULER-409  Expecting element <variable> instead of <{child.name}>"
            )
        variables.append((child.attributes.get("name", ""), _value(child)))
    return tuple(variables)


@dataclass(frozen=True, slots=True)
class StepResult:
    """
    What a step returned.

    @ivar exitCode: 0 where a signal ended the script.
    @ivar stateText: the first line of stdout, or empty.
    @ivar orderParameters: what some engines return in this way.
    """

    exitCode: int
    signal: int = 0
    stateText: str = ""
    orderParameters: Pairs = ()

    @property
    def succeeded(self) -> bool:
        """
        Whether an order goes on to its next state.
        """
        return self.exitCode == 0 and self.signal == 0


def encodeResult(result: StepResult) -> str:
    """
    The answer to a step.
    """
    attributes = f' exit_code="{result.exitCode}"'
    if result.signal:
        attributes += f' signal="{result.signal}"'
    if result.stateText:
        attributes += _attribute("state_text", result.stateText)
    succeeded = "true" if result.succeeded else "false"
    return f'{_PROLOG}<process.result spooler_process_result="{succeeded}"{attributes}/>'


def decodeResult(text: str) -> StepResult:
    """
    What a step returned; only C{exit_code} and C{signal} count.

    @raise RemoteProtocolError: the text is empty, no XML, or has no numbers
        where they belong.
    """
    plain = _RESULT.fullmatch(text)
    if plain is not None:
        return StepResult(int(plain[1]))
    root = _parse(text)
    if root.name != "process.result":
        raise RemoteProtocolError(f"the step returned <{root.name}>, which is no result")
    attributes = root.attributes
    pairs = [
        child for each in root.children if each.name == "order.params" for child in each.children
    ]
    try:
        return StepResult(
            int(attributes.get("exit_code", "0")),
            int(attributes.get("signal", "0")),
            attributes.get("state_text", ""),
            tuple((pair.attributes.get("name", ""), _value(pair)) for pair in pairs),
        )
    except ValueError as problem:
        raise RemoteProtocolError(f"the result of the step is no number: {problem}") from problem


def stateText(firstLine: str) -> str:
    """
    The first line of stdout as an attribute may carry it: the original
    replaces what is not ASCII by an inverted question mark.
    """
    cut = firstLine[:STATE_TEXT_SIZE]
    return "".join(char if " " <= char <= "~" or char == "\t" else "\xbf" for char in cut)


def _parse(text: str) -> Element:
    # A value that begins with a prolog was encoded as that says; all that
    # travels in a string of this language is ISO-8859-1 anyway (4.6.2).
    document = text if text.startswith("<?xml") else _PROLOG + text
    return parse(document.encode("latin-1", "replace"), LIMITS)


def _source(job: ShellJob) -> str:
    if not job.script:
        return f"{_PROLOG}<source/>\n"
    # A CDATA section cannot say its own end.
    cdata = job.cdata and "]]>" not in job.script
    text = f"<![CDATA[{job.script}]]>" if cdata else escapeText(job.script)
    part = f'<source_part linenr="{job.line}">{text}</source_part>'
    return f"{_PROLOG}<source>{part}</source>\n"


def _script(text: str) -> tuple[str, int]:
    if not text.strip():
        return "", 1
    plain = _SOURCE.fullmatch(text)
    if plain is not None:
        return plain[2], int(plain[1])
    parts = _parse(text).children
    try:
        line = int(parts[0].attributes.get("linenr", "1")) if parts else 1
    except ValueError:
        line = 1
    return "".join(part.text for part in parts), line


def _value(variable: Element) -> str:
    hexadecimal = variable.attributes.get("hex_value")
    if hexadecimal is None:
        return variable.attributes.get("value", "")
    try:
        return unhexlify(hexadecimal).decode("latin-1")
    except ValueError as problem:
        raise RemoteProtocolError("a hex_value is not hexadecimal") from problem


def _attribute(name: str, text: str) -> str:
    return f' {name}="{escapeAttribute(text)}"'


def _variable(name: str, text: str) -> str:
    value = _attribute("value", text)
    if not isCarried(text):
        # Bytes that XML cannot carry travel as their digits (5.5).
        value = f' hex_value="{text.encode("latin-1", "replace").hex()}"'
    return f"<variable{_attribute('name', name)}{value}/>"


def _estimate(variables: tuple[tuple[str, str], ...]) -> int:
    # Found by comparing 15 sets that real engines wrote: each string counts as
    # it would lie in their memory, in blocks of 8 bytes.
    return sum([25 + (len(name) + 12) // 8 * 16 + (len(v) + 12) // 8 * 8 for name, v in variables])
