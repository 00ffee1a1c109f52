"""The registry of the paper's ten data sets: their sources, columns and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from craft.data import class_names
from craft.data.known.flower_names import FLOWERS
from craft.data.known.iconqa import is_iconqa_folder, read_iconqa_folder
from craft.data.readers import Columns, DataError, Place, ReadOptions, RecordSet, read_records
from craft.data.readers.columns import MissingColumn
from craft.data.readers.hf_disk import import_datasets, read_hf
from craft.errors import CraftError
from craft.settings.closest import did_you_mean

#: Split -> number of records; "all" for data without splits, "classes" for the number of classes.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class DatasetEntry:
    """One public data set.

    Args:
        hub_id: a Hugging Face repository of Parquet files that contained it at the time of writing.
        hub_config: the repository's configuration to load.
        columns: the repository's columns; also used for local tables that have them.
        subject: what questions call the objects shown.
        sizes: known versions; a loaded data set must match one of them in every split it has.
        naming: class label -> its name in questions.
        notes: what to know before using the data set.
    """

    key: str
    title: str
    kind: Literal["classes", "questions"]
    hub_id: str | None
    licence: str
    columns: Columns
    sizes: tuple[Sizes, ...]
    subject: str = "object"
    hub_config: str | None = None
    naming: Callable[[str], str] = class_names.spoken
    notes: str = ""

    def names(self, records: RecordSet) -> dict[str, str]:
        """Class label -> its name in questions."""
        return {label: self.naming(label) for label in records.labels}


_IMAGE_LABEL = Columns(image="image", label="label")


def _flower(label: str) -> str:
    """Return the name of a flower; some copies of the data have the labels "1" to "102"."""
    return FLOWERS[int(label) - 1] if label.isdigit() else class_names.spoken(label)


_ENTRIES = (
    DatasetEntry(
        key="iconqa",
        title="IconQA, questions with one image",
        kind="questions",
        hub_id="lmms-lab/ICON-QA",
        licence="CC BY-NC-SA 4.0",
        columns=Columns(
            image="query_image",
            id="question_id",
            question="question",
            answer="answer",
            options="choices",
            options_separator=",",
            keep=("ques_type", ("choose_txt", "fill_in_blank")),
        ),
        sizes=({"train": 18_946 + 10_913},),
        notes="the repository has no training split; the authors' archive has one and is read too",
    ),
    DatasetEntry(
        key="ocrvqa",
        title="OCR-VQA, book covers",
        kind="questions",
        hub_id="howard-hou/OCR-VQA",
        licence="not stated; treat as research only",
        columns=Columns(
            image="image",
            id="image_id",
            questions="questions",
            answers="answers",
        ),
        sizes=({"train": 166_022, "val": 20_731, "test": 20_796},),
        notes="counted in images; many instruction mixes contain it",
    ),
    DatasetEntry(
        key="scienceqa",
        title="ScienceQA, questions with an image",
        kind="questions",
        hub_id="derek-thomas/ScienceQA",
        licence="CC BY-SA 4.0 by its card; the original is CC BY-NC-SA",
        columns=Columns(
            image="image", question="question", answer="answer", options="choices", hint="hint"
        ),
        sizes=({"train": 6_218, "val": 2_097, "test": 2_017},),
        notes="about half of the questions have no image and are left out",
    ),
    DatasetEntry(
        key="vqarad",
        title="VQA-RAD, radiology",
        kind="questions",
        hub_id="flaviagiammarino/vqa-rad",
        licence="CC0 1.0",
        columns=Columns(image="image", question="question", answer="answer"),
        sizes=({"train": 1_793, "test": 451},),
        notes="images are shared between training and test",
    ),
    DatasetEntry(
        key="eurosat",
        title="EuroSAT, RGB",
        kind="classes",
        hub_id="timm/eurosat-rgb",
        licence="MIT",
        columns=_IMAGE_LABEL,
        sizes=(
            {"classes": 10, "train": 16_200, "val": 5_400, "test": 5_400},
            {"classes": 10, "train": 21_600, "val": 2_700, "test": 2_700},
            {"classes": 10, "all": 27_000},
        ),
        subject="land use",
        naming=class_names.from_camel,
    ),
    DatasetEntry(
        key="flowers102",
        title="Oxford Flowers 102",
        kind="classes",
        hub_id="dpdl-benchmark/oxford_flowers102",
        licence="not stated",
        columns=_IMAGE_LABEL,
        sizes=({"classes": 102, "train": 1_020, "val": 1_020, "test": 6_149},),
        subject="flower",
        naming=_flower,
        notes="some copies label the classes by number; their names are restored",
    ),
    DatasetEntry(
        key="kvasir",
        title="Kvasir, endoscopy",
        kind="classes",
        hub_id=None,
        licence="research and education",
        columns=_IMAGE_LABEL,
        sizes=({"classes": 8, "all": 4_000}, {"classes": 8, "all": 8_000}),
        subject="finding",
        naming=class_names.from_hyphens,
        notes="a folder of images per class, from the authors; no split",
    ),
    DatasetEntry(
        key="plantvillage",
        title="PlantVillage, colour",
        kind="classes",
        hub_id="mohanty/PlantVillage",
        hub_config="color",
        licence="CC BY-SA 3.0",
        columns=_IMAGE_LABEL,
        sizes=({"classes": 38, "all": 54_306}, {"classes": 38, "all": 54_305}),
        subject="plant leaf",
        naming=class_names.from_crop_disease,
        notes="several images show the same leaf: split by leaf, since a random split leaks",
    ),
    DatasetEntry(
        key="cars",
        title="Stanford Cars",
        kind="classes",
        hub_id="tanganke/stanford_cars",
        licence="research",
        columns=_IMAGE_LABEL,
        sizes=({"classes": 196, "train": 8_144, "test": 8_041},),
        subject="car",
    ),
    DatasetEntry(
        key="dogs",
        title="Stanford Dogs",
        kind="classes",
        hub_id="Donghyun99/Stanford-Dogs",
        licence="that of ImageNet",
        columns=_IMAGE_LABEL,
        sizes=(
            {"classes": 120, "train": 12_000, "test": 8_580},
            {"classes": 120, "all": 20_580},
        ),
        subject="dog",
        naming=class_names.from_synset,
    ),
)
REGISTRY: dict[str, DatasetEntry] = {entry.key: entry for entry in _ENTRIES}


def entry_of(key: str) -> DatasetEntry:
    """Return a data set of the registry.

    Raises:
        CraftError: the key is unknown; the message lists the known ones.
    """
    if key not in REGISTRY:
        meant = did_you_mean(key, REGISTRY)
        raise CraftError(f"dataset must be one of {', '.join(REGISTRY)}, got {key!r}{meant}")
    return REGISTRY[key]


def load_dataset(
    entry: DatasetEntry,
    path: Path | None = None,
    *,
    hub_id: str | None = None,
    revision: str | None = None,
    options: ReadOptions | None = None,
    any_size: bool = False,
) -> RecordSet:
    """Load a data set of the registry from a local copy or from Hugging Face, and check its size.

    Args:
        path: a local copy in any readable format; nothing is downloaded then.
        hub_id: a repository, or a local clone of one, to use instead of the entry's.
        any_size: accept other numbers of records or classes than the known ones.

    Raises:
        DataError: the data is unreadable, or not of the expected kind or size.
        CraftError: no path is given and the data set has no repository.
    """
    options = options or ReadOptions()
    if path is not None:
        records = _read_local(entry, path, options)
    else:
        repository = hub_id or entry.hub_id
        if repository is None:
            raise CraftError(f"{entry.key} has no hub repository ({entry.notes}); give its path")
        config = entry.hub_config if hub_id is None else None
        loaded = import_datasets().load_dataset(repository, config, revision=revision)
        columns = options.columns or entry.columns
        records = read_hf(loaded, Path(repository), options.model_copy(update={"columns": columns}))
    if not any_size:
        check_size(entry, records)
    return records.mapped(options.pixel_range)


def _read_local(entry: DatasetEntry, path: Path, options: ReadOptions) -> RecordSet:
    if entry.key == "iconqa" and is_iconqa_folder(path):
        return read_iconqa_folder(path)
    if options.columns is None:
        try:
            columns = options.model_copy(update={"columns": entry.columns})
            return read_records(path, columns)
        except MissingColumn:
            pass  # a local copy with other columns, which are recognised by name
    return read_records(path, options)


def check_size(entry: DatasetEntry, records: RecordSet) -> None:
    """Refuse a data set whose splits do not have the sizes of one of the known versions.

    Raises:
        DataError: the sizes differ; the message gives those found and those expected.
    """
    kind = "classes" if records.labelled else "questions"
    if kind != entry.kind:
        raise DataError(
            Place(records.path), f"{entry.key} is a data set of {entry.kind}, this holds {kind}"
        )
    found: dict[str, int] = {part or "all": n for part, n in records.split_counts.items()}
    if records.labelled:
        found["classes"] = len(records.labels)
    left_out = f"; {len(records.left_out)} corrupt ones left out" if records.left_out else ""
    if not any(all(sizes.get(k, n) == n for k, n in found.items()) for sizes in entry.sizes):
        known = " or ".join(str(dict(sizes)) for sizes in entry.sizes)
        raise DataError(
            Place(records.path),
            f"{entry.key} should have {known}, found {found}{left_out}; check that it is complete "
            "and of this version, or accept it with --any-size",
        )
