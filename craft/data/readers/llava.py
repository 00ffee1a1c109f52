"""LLaVA conversation files: a JSON list, or one object a line."""

from __future__ import annotations

from pathlib import Path

from craft.data.readers.conversation import IMAGE_TOKEN, llava_turns
from craft.data.readers.image_paths import ImagePaths
from craft.data.readers.json_lines import read_objects
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.splits import split_name


def read_llava(path: Path, options: ReadOptions, split: str | None = None) -> RecordSet:
    """``[{"id", "image", "conversations": [{"from", "value"}, ...]}, ...]``.

    Entries without an image, which LLaVA's own mixes contain, cannot teach an encoder and are left
    out; an ``<image>`` token without an image is an error. Every question is asked on its own.

    Raises:
        DataError: see :func:`~craft.data.readers.conversation.llava_turns`; a missing image file.
    """
    paths = ImagePaths.beside(path, options.images)
    records: list[Record] = []
    textual = several = 0
    for number, (place, entry) in enumerate(read_objects(path), 1):
        if "conversations" not in entry:
            raise DataError(place, f"expected id, image and conversations, got {sorted(entry)}")
        if entry.get("image") in (None, "", []):
            if IMAGE_TOKEN in str(entry["conversations"]):
                raise DataError(place, f"{IMAGE_TOKEN} in the conversation but no image")
            textual += 1
            continue
        turns = llava_turns(entry["conversations"], place)
        several += len(turns) > 1
        key = entry.get("id")
        named = split_name(str(entry["split"])) if "split" in entry else split
        if "split" in entry and named is None:
            raise DataError(place, f"split must be train, val or test, got {entry['split']!r:.40}")
        records.append(
            Record(
                id=f"{path.stem}:{number}" if key is None else str(key),
                image=paths.image(entry["image"], place, options.skip_corrupt),
                place=place,
                turns=turns,
                split=named,
            )
        )
    notes = [paths.sentence(), "conversations are asked word for word"]
    if several:
        notes.append(
            f"{several} conversations have several questions; each is asked on its own, without "
            "the ones before it"
        )
    if textual:
        notes.append(f"{textual} conversations without an image were left out")
    return RecordSet(path, "llava", records, tuple(notes))
