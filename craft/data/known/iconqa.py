"""IconQA in its authors' format: a folder per question with ``data.json`` and ``image.png``."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers import DataError, Place, Record, RecordSet, Turn
from craft.data.readers.answers import Choice, option_of
from craft.data.readers.image import ImageFile
from craft.data.readers.splits import split_name
from craft.runtime.regular_files import regular_bytes
from craft.runtime.strict_text import parse_json

#: The third kind, choose_img, has several images per question.
_KINDS = ("choose_txt", "fill_in_blank")


def is_iconqa_folder(path: Path) -> bool:
    """Whether ``path`` contains ``<split>/choose_txt/`` or ``<split>/fill_in_blank/``."""
    return path.is_dir() and any(
        (part / kind).is_dir() for part in path.iterdir() if part.is_dir() for kind in _KINDS
    )


def read_iconqa_folder(path: Path) -> RecordSet:
    """Read the questions that have one image.

    Raises:
        DataError: a question has no ``data.json`` or image, or an invalid answer.
    """
    records = []
    for part in sorted(p for p in path.iterdir() if p.is_dir() and split_name(p.name)):
        for kind in _KINDS:
            for folder in sorted((part / kind).glob("*/")):
                place = Place(folder / "data.json", 1)
                image = folder / "image.png"
                if not image.is_file():
                    raise DataError(place, f"no image {image}")
                try:
                    data = parse_json(regular_bytes(folder / "data.json"), foreign=True)
                    options = tuple(str(choice) for choice in data.get("choices", ()))
                    question, answer = str(data["question"]), data["answer"]
                except (OSError, ValueError, KeyError, AttributeError) as error:
                    raise DataError(place, f"not a question: {error!r}") from error
                choice = Choice(str(answer), options, place)
                given = option_of(choice, 0) if options else str(answer)
                records.append(
                    Record(
                        id=folder.relative_to(path).as_posix(),
                        image=ImageFile(image),
                        place=place,
                        turns=(Turn(question, given, options),),
                        split=split_name(part.name),
                    )
                )
    notes = ("the authors' folders; questions about several images (choose_img) left out",)
    return RecordSet(path, "iconqa", records, notes)
