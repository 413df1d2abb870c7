"""
C{jsremote firewall}: the rules that let in what has to come in, for whoever keeps
the firewall.

Only incoming connections need rules: the answers of a connection pass every
firewall that tracks connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from jobscheduler_tcp.cli.configured import configured
from jobscheduler_tcp.config.scheduler import Resolve, resolve
from jobscheduler_tcp.config.settings import Settings
from jobscheduler_tcp.config.values import isLoopback
from jobscheduler_tcp.security import Level, networkOf
from jobscheduler_tcp.tap import callbackMode, classesOf

# Of everybody.
_ANYONE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class Opening:
    """
    Who may connect to which ports of this host.

    @ivar sources: addresses and networks; everybody if there is none.
    @ivar families: the versions of IP that are listened on.
    """

    low: int
    high: int
    purpose: str
    sources: tuple[str, ...] = ()
    families: tuple[int, ...] = (4, 6)

    def of(self, family: int) -> tuple[str, ...]:
        """
        The sources of one version of IP; the network of everybody if all may.
        """
        if not self.sources:
            return (_ANYONE[family],) if family in self.families else ()
        return tuple(each for each in self.sources if (":" in each) == (family == 6))

    def ports(self, between: str) -> str:
        """
        The ports, as a firewall has them.
        """
        return f"{self.low}{between}{self.high}" if self.low != self.high else f"{self.low}"


@dataclass(slots=True)
class Rules:
    """
    All that is to be opened, and what is worth a comment.
    """

    openings: list[Opening] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def firewall(config: str | None, role: str | None, form: str) -> int:
    """
    Print the rules.

    @return: the exit code.
    """
    rules = rulesOf(configured(role, config))
    if form != "all":
        print("\n".join(FORMS[form](rules)))
        return 0
    for name, write in FORMS.items():
        print(f"# ---- {name}")
        print("\n".join(write(rules)))
        print()
    return 0


def rulesOf(settings: Settings, resolve: Resolve = resolve) -> Rules:
    """
    What a service with these settings has to be reached at.
    """
    rules = Rules()
    if settings.role.value == "client":
        _callbackPorts(settings, rules, resolve)
    _commandPort(settings, rules)
    return rules


def _callbackPorts(settings: Settings, rules: Rules, resolve: Resolve) -> None:
    high, low = settings.callbackPorts.value
    sources: dict[str, None] = {}
    classes = [each for each in classesOf(settings) if each.host]
    hosts = {
        host
        for each in classes
        if callbackMode(settings, each) != "passive"
        for host, _ in each.remotes
    }
    if classes and not hosts:
        rules.notes.append("all process classes are passive: no remote calls back")
        return
    for host in sorted(hosts):
        try:
            # A remote calls back the way it was called, which is IPv4.
            sources.update((each, None) for each in resolve(host) if ":" not in each)
        except OSError as error:
            rules.notes.append(f"{host} has no address ({error.strerror or error}): add it")
    if not hosts:
        rules.notes.append("no process class names a remote: everybody may call back")
    _open(rules, Opening(low, high, "jsremote: remotes call back", families=(4,)), sources)


def _commandPort(settings: Settings, rules: Rules) -> None:
    interface, port = settings.listen.value
    if isLoopback(interface):
        rules.notes.append("commands are taken on loopback only: nothing to open for them")
        return
    sources: dict[str, None] = {}
    for entry in settings.allow.value:
        if entry.level is Level.NONE:
            continue
        if not entry.addresses:
            rules.notes.append(f"{entry.host} has no address: add it")
        sources.update((networkOf(each), None) for each in entry.addresses)
    families = (6,) if ":" in interface else (4,)
    if any(each in sources for each in _ANYONE.values()):
        sources = {}
    _open(rules, Opening(port, port, "jsremote: commands", families=families), sources)


def _open(rules: Rules, opening: Opening, sources: Iterable[str]) -> None:
    """
    Open something for sources, or for everybody if there is none.
    """
    said = tuple(sources)
    far = tuple(each for each in said if not isLoopback(each.partition("/")[0]))
    if said and not far:
        ports = opening.ports("-")
        rules.notes.append(f"only this host itself connects to {ports}: nothing to open for it")
    else:
        rules.openings.append(replace(opening, sources=far))


def nftables(rules: Rules) -> Iterator[str]:
    """
    For C{nft -f -}. The names of table and chain are those of the examples that
    distributions ship; a chain that is there stays as it is, and its policy.
    """
    yield from _comments(rules)
    yield "add table inet filter"
    yield "add chain inet filter input { type filter hook input priority filter; }"
    for opening in rules.openings:
        for family, word in ((4, "ip"), (6, "ip6")):
            sources = opening.of(family)
            if sources:
                said = f"{word} saddr {{ {', '.join(sources)} }} tcp dport {opening.ports('-')}"
                comment = f'comment "{opening.purpose}"'
                yield f"insert rule inet filter input {said} accept {comment}"


def firewalld(rules: Rules) -> Iterator[str]:
    """
    For a shell.
    """
    yield from _comments(rules)
    for opening in rules.openings:
        for family in (4, 6):
            for source in opening.of(family):
                rule = (
                    f'rule family="ipv{family}" source address="{source}" '
                    f'port port="{opening.ports("-")}" protocol="tcp" accept'
                )
                yield f"firewall-cmd --permanent --add-rich-rule='{rule}'"
    if rules.openings:
        yield "firewall-cmd --reload"


def ufw(rules: Rules) -> Iterator[str]:
    """
    For a shell.
    """
    yield from _comments(rules)
    for opening in rules.openings:
        for family in (4, 6):
            for source in opening.of(family):
                ports = opening.ports(":")
                yield (
                    f"ufw allow proto tcp from {source} to any port {ports} "
                    f"comment '{opening.purpose}'"
                )


def table(rules: Rules) -> Iterator[str]:
    """
    For people who fill in forms.
    """
    yield from _comments(rules)
    if not rules.openings:
        return
    rows = [("direction", "protocol", "from", "to", "port", "purpose")]
    for opening in rules.openings:
        for family in (4, 6):
            for source in opening.of(family):
                shown = "anyone" if source in _ANYONE.values() else source
                rows.append(("in", "TCP", shown, "this host", opening.ports("-"), opening.purpose))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _comments(rules: Rules) -> Iterable[str]:
    return (f"# {note}" for note in rules.notes)


FORMS = {"nftables": nftables, "firewalld": firewalld, "ufw": ufw, "table": table}
