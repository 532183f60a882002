"""What an earlier training knew of its images: the part, the content and the label of each; and what has changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headstart.core import Dataset, Label, Part, Split
from headstart.data.audit import Audit

PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Earlier:
    """The split of an earlier training, and what it noted of every image it read: (digest of the file, label) by id.

    `images` is empty where a run did not note it.
    """

    split: Split
    images: Mapping[str, tuple[str, Label | None]] = field(default_factory=dict)

    def parts(self) -> dict[str, Part]:
        """The part of each image by id."""
        return {name: part for part in PARTS for name in getattr(self.split, part)}

    def placed(self, dataset: Dataset, digests: Mapping[str, str]) -> Dataset:
        """The data set in which every image of the earlier training keeps its part, found again by content, else by id.

        So no image that validated trains from now on, whatever it is called, and none that trained validates. What the user
        has placed by name stays there.
        """
        parts = self.parts()
        by_content: dict[str, Part] = {
            self.images[name][0]: part for name, part in parts.items() if self.images.get(name, ("",))[0]
        }
        kept: dict[str, Part] = {}
        for record in dataset.records:
            digest = digests.get(record.id, "")
            own = parts.get(record.id)
            unchanged = own is not None and self.images.get(record.id, (digest,))[0] == digest
            part = own if unchanged else by_content.get(digest) or own
            if part is not None:
                kept[record.id] = part
        return replace(dataset, placed={**kept, **dataset.placed})

    def same_names(self, dataset: Dataset) -> bool:
        """Whether the data set lists the same images with the same labels; nothing is read for this."""
        listed = {record.id: record.target for record in dataset.records}
        if self.images:
            return listed == {name: label for name, (_, label) in self.images.items()}
        return self.parts().keys() <= listed.keys() and set(dataset.classes) == {listed[name] for name in self.split.train}

    def missing(self, dataset: Dataset) -> tuple[str, ...]:
        """The images that the data set no longer lists."""
        listed = {record.id for record in dataset.records}
        return tuple(name for name in self.parts() if name not in listed)

    def changes(self, now: "Earlier") -> dict[str, list[str]]:
        """What happened to images since, by kind of change."""
        before, after = self.parts(), now.parts()
        both = before.keys() & after.keys()
        known = [name for name in both if name in self.images and name in now.images]
        return {
            "new": sorted(after.keys() - before.keys()),
            "gone": sorted(before.keys() - after.keys()),
            "in another part": sorted(name for name in both if before[name] != after[name]),
            "written again": sorted(name for name in known if self.images[name][0] != now.images[name][0]),
            "with another label": sorted(name for name in known if self.images[name][1] != now.images[name][1]),
        }


def noted(split: Split, found: Audit) -> Earlier:
    """What a training that begins now will be known by later."""
    return Earlier(split, {file.id: (file.digest, found.labels.get(file.id)) for file in found.files})


def from_json(split: Split, images: Mapping[str, Sequence[Any]]) -> Earlier:
    """The same, read back from the run folder."""

    def known(label: Any) -> Label | None:
        return tuple(label) if isinstance(label, list) else label

    return Earlier(split, {name: (str(digest), known(label)) for name, (digest, label) in images.items()})
