"""A user's data set from request to domain, and the same domain again from its manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from craft.data.domains.building import build_domain, make_manifest
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.known.registry import entry_of, load_dataset
from craft.data.readers import DataError, ReadOptions, RecordSet, read_records, without_corrupt
from craft.errors import CraftError


@dataclass(frozen=True)
class DataRequest:
    """Which data, and how to read it.

    Args:
        path: of any readable format; may be left out for a data set with a hub repository.
        dataset: key of a data set of the registry.
        hub_id: instead of the registry's repository.
        subject: what questions call the things shown; the registry's, or "object".
        any_size: accept a data set of the registry of an unknown size.
    """

    path: Path | None = None
    dataset: str | None = None
    hub_id: str | None = None
    subject: str | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    any_size: bool = False

    def read(self) -> RecordSet:
        """The records; their account says what was left out and why.

        Raises:
            DataError: see :func:`~craft.data.readers.read_records` and
                :func:`~craft.data.known.registry.load_dataset`.
            CraftError: neither path nor data set, or no such data set.
        """
        if self.dataset is None:
            if self.path is None:
                raise CraftError("name the data: a path, or a data set of `craft data list`")
            return read_records(self.path, self.reading)
        records = load_dataset(
            entry_of(self.dataset),
            self.path,
            hub_id=self.hub_id,
            options=self.reading,
            any_size=self.any_size,
        )
        whole_again = self.reading.skip_corrupt and self.path is None
        return without_corrupt(records) if whole_again else records

    def _names(self, records: RecordSet) -> dict[str, str]:
        """Label -> name: the user's before the registry's."""
        names = entry_of(self.dataset).names(records) if self.dataset else {}
        given = self.reading.class_names
        if isinstance(given, dict):
            unknown = sorted(set(given) - set(records.labels))
            if len(unknown) == len(given):
                raise CraftError(
                    f"--class-names names none of the labels of {records.path}: it has "
                    f"{unknown[:4]}, the data {records.labels[:4]}"
                )
            for label in unknown:
                reason = "labels in --class-names that the data does not have"
                records.account.warn(reason, records.path, label)
            names |= {label: name for label, name in given.items() if label in records.labels}
        return names

    def manifest(self, records: RecordSet) -> DomainManifest:
        """How the records become a domain: :func:`~craft.data.domains.building.make_manifest`."""
        entry = entry_of(self.dataset) if self.dataset else None
        return make_manifest(
            records,
            name=self.dataset,
            subject=self.subject or (entry.subject if entry else "object"),
            reading=self.reading,
            dataset=self.dataset,
            from_hub=self.path is None,
            names=self._names(records),
        )


def reopen(manifest: DomainManifest, size: int, path: Path | None = None) -> Domain:
    """The domain a manifest was written for.

    Args:
        size: of the images, in pixels.
        path: where the data lies now, if it was moved.

    Raises:
        DataError: the data changed since.
        CraftError: what lies where the manifest says is no such data.
    """
    request = DataRequest(
        path=path or (None if manifest.from_hub else Path(manifest.source)),
        dataset=manifest.dataset,
        hub_id=manifest.source if manifest.from_hub else None,
        reading=manifest.reading,
        any_size=True,  # the manifest's hash says whether it is the same data
    )
    try:
        records = request.read()
    except DataError as error:
        if path is not None or manifest.from_hub:
            raise
        # Where it lies is the manifest's word, which may be someone else's: nothing that stands
        # there is shown.
        raise CraftError(
            f"{error.place}: not the data that the manifest was made for; `craft data check "
            f"{manifest.source}` says what it is, --data PATH where the data lies now"
        ) from error
    return build_domain(records, manifest, size)
