"""Opening a user's data set as a domain, and reopening the same domain from its manifest."""

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
    """Which data to read, and how.

    Args:
        path: data in any readable format; optional for a data set with a Hugging Face repository.
        dataset: key of a data set in the registry.
        hub_id: a repository to use instead of the registry's.
        subject: what questions call the objects shown; by default the registry's, or "object".
        any_size: accept a data set of the registry with an unknown size.
    """

    path: Path | None = None
    dataset: str | None = None
    hub_id: str | None = None
    subject: str | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    any_size: bool = False

    def read(self) -> RecordSet:
        """Read the records; their account tells what was skipped and why.

        Raises:
            DataError: see :func:`~craft.data.readers.read_records` and
                :func:`~craft.data.known.registry.load_dataset`.
            CraftError: neither path nor data set is given, or the data set is unknown.
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
        """Label -> name; the user's names take precedence over the registry's."""
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
        """Make the manifest of the records; see
        :func:`~craft.data.domains.building.make_manifest`."""
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
    """Build the domain that a manifest was written for.

    Args:
        size: height and width of the images in pixels.
        path: current location of the data, if it was moved.

    Raises:
        DataError: the data has changed.
        CraftError: the manifest's source cannot be read as the data it was made for.
    """
    request = DataRequest(
        path=path or (None if manifest.from_hub else Path(manifest.source)),
        dataset=manifest.dataset,
        hub_id=manifest.source if manifest.from_hub else None,
        reading=manifest.reading,
        any_size=True,  # the manifest's hash decides whether it is the same data
    )
    try:
        records = request.read()
    except DataError as error:
        if path is not None or manifest.from_hub:
            raise
        # The location is the manifest's, which may come from someone else, so nothing of the
        # content found there is shown.
        raise CraftError(
            f"{error.place}: not the data that the manifest was made for; inspect it with `craft "
            f"data check {manifest.source}`, or give its present location with --data PATH"
        ) from error
    return build_domain(records, manifest, size)
