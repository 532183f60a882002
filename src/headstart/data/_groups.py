"""Groups of names that belong together: equal content, equal pictures."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence

import numpy as np

from headstart.core import Progress
from headstart.data._fingerprint import Pictures, search

Ids = tuple[str, ...]


class Union:
    """Union-find over names."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        """The name that stands for the group of this one."""
        path = []
        while (above := self.parent.setdefault(name, name)) != name:
            path.append(name)
            name = above
        self.parent.update(dict.fromkeys(path, name))
        return name

    def join(self, names: Iterable[str]) -> None:
        """Make one group of all these."""
        first, *rest = names
        for name in rest:
            self.parent[self.root(name)] = self.root(first)


def same_content(digests: Mapping[str, str]) -> tuple[Ids, ...]:
    """Groups of at least two names with the same digest, in the order given."""
    repeated = {digest for digest, count in Counter(digests.values()).items() if count > 1}  # few, and a list for each is large
    groups: dict[str, list[str]] = defaultdict(list)
    for name, digest in digests.items():
        if digest in repeated:
            groups[digest].append(name)
    return tuple(tuple(group) for group in groups.values())


def same_picture(
    names: Sequence[str | None], pictures: Pictures, exact: Sequence[Ids]
) -> Generator[Progress, None, tuple[tuple[Ids, ...], float]]:
    """Groups of files of different content that show the same picture, `exact` copies of members included; and the distance.

    `names` are those of the pictures, in their order; None for files that show none.
    """
    later_copies = {name for group in exact for name in group[1:]}
    among = np.array([name is not None and name not in later_copies for name in names], bool)
    found = yield from search(pictures, among)
    union = Union()
    for first, second in found.pairs.tolist():
        union.join((str(names[first]), str(names[second])))
    members = set(union.parent)
    for group in exact:
        if group[0] in members:
            union.join(group)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name in union.parent:
            groups[union.root(name)].append(name)
    return tuple(tuple(group) for group in groups.values()), found.distance
