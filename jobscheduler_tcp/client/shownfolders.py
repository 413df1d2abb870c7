"""
How the folders of a configuration look in JobScheduler's answers: in each the
objects of the files that are in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from jobscheduler_tcp.client.shownparts import fileBased
from jobscheduler_tcp.wire.documents import Element, element

# In which order JobScheduler tells them.
_KINDS = ("process_classes", "jobs", "job_chains")

_Inside = defaultdict[str, defaultdict[str, list[Element]]]


def folderElement(
    groups: Mapping[str, Iterable[tuple[str, Element]]], path: str, *, deep: bool
) -> Element:
    """
    A folder and what is in it.

    @param groups: all objects with their paths, without the leading slash, by
        the name of the element that has them.
    @param path: of the folder, without slashes around it.
    @param deep: whether the folders in it are shown, too.
    """
    inside: _Inside = defaultdict(lambda: defaultdict(list))
    for kind, found in groups.items():
        for name, each in found:
            inside[name.rpartition("/")[0]][kind].append(each)
    children: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for folder in inside:
        parts = folder.split("/") if folder else []
        for depth in range(len(parts)):
            children["/".join(parts[:depth])]["/".join(parts[: depth + 1])] = None
    kinds = [kind for kind in _KINDS if kind in groups]
    return _folder(path, inside, children if deep else {}, kinds)


def _folder(
    path: str, inside: _Inside, children: Mapping[str, Iterable[str]], kinds: list[str]
) -> Element:
    attributes = {"path": f"/{path}"}
    if path:
        attributes["name"] = path.rpartition("/")[2]
    found = [fileBased(None), *(element(kind, {}, inside[path][kind]) for kind in kinds)]
    below = [_folder(each, inside, children, kinds) for each in children.get(path, ())]
    if below:
        found.append(element("folders", {}, below))
    return element("folder", attributes, found)
