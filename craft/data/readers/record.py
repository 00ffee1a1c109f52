"""Records, the output of all readers: an image, its label or questions, and its place."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from craft.data import prompts
from craft.data.readers.account import UNREADABLE, Account
from craft.data.readers.decoding import CorruptImage, Decoded, decode
from craft.data.readers.image import EncodedImage
from craft.data.readers.labels import are_numbers
from craft.data.readers.pixel_range import PixelRange
from craft.data.readers.place import DataError, Place
from craft.errors import CraftError

_HALF = re.compile("[\ud800-\udfff]")


class DamagedImage(DataError):
    """An image is missing or damaged; such images can be skipped."""


@dataclass(frozen=True)
class Turn:
    """A question about an image and its answer.

    Args:
        answer: the text of the answer; one of ``options`` if there are any.
        worded: whether the question already tells how to answer, and is asked verbatim.
    """

    question: str
    answer: str
    options: tuple[str, ...] = ()
    worded: bool = False

    @property
    def prompt(self) -> str:
        """The prompt of the language model (methods F4)."""
        if self.worded:
            return self.question
        return prompts.ask(self.question, self.options)

    @property
    def target(self) -> str:
        """The expected output: the letter of the right option, or the answer."""
        if self.options:
            return prompts.letter(self.options.index(self.answer))
        return self.answer

    @property
    def statement(self) -> str:
        """The turn as one text, for the contrastive loss (methods C10)."""
        return prompts.STATEMENT.format(question=self.question, answer=self.answer)


@dataclass(frozen=True)
class Record:
    """An image with either a class label or questions.

    Args:
        id: unique within the data set.
        image: the encoded image, read and decoded on demand.
        place: the file and line it was read from.
        label: the class, as written in the data.
        turns: questions with answers.
        captions: free texts about the image, for the contrastive loss.
        split: "train", "val" or "test", if the data tells.
        pixel_range: values that become black and white in images of more than eight bits.
    """

    id: str
    image: EncodedImage
    place: Place
    label: str | None = None
    turns: tuple[Turn, ...] = ()
    captions: tuple[str, ...] = ()
    split: str | None = None
    pixel_range: PixelRange | None = None

    def digest(self) -> str:
        """Hash the encoded image.

        The file is not read again if it was hashed or decoded before.

        Raises:
            DataError: the image cannot be read.
        """
        if not self.is_hashed:
            self._encoded()
        return self.__dict__["_digest"]

    @property
    def is_hashed(self) -> bool:
        """Whether :meth:`digest` is known without reading."""
        return "_digest" in self.__dict__

    def trust(self, digest: str) -> None:
        """Take the hash as if the image had been read, and been so; that it is so is seen when it
        is decoded."""
        self.__dict__.setdefault("_digest", digest)

    def rgb(self) -> Image.Image:
        """Decode the image to upright RGB; errors as for :meth:`decoded`."""
        return self.decoded().image

    def decoded(self) -> Decoded:
        """Decode the image to upright RGB, and tell how more than eight bits were mapped.

        Raises:
            DamagedImage: the file is missing, truncated or not an image.
            DataError: the file has changed since it was first read, or cannot be read for another
                reason; see :func:`~craft.data.readers.decoding.decode`.
        """
        data = self._encoded()
        try:
            return decode(data, self.pixel_range)
        except CorruptImage as error:
            raise DamagedImage(self.place, f"image {self.image}: {error}") from error
        except CraftError as error:
            raise DataError(self.place, f"image {self.image}: {error}") from error

    def _encoded(self) -> bytes:
        data = self._read()
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if self.__dict__.setdefault("_digest", digest) != digest:
            raise DataError(
                self.place,
                f"image {self.image}: the file has changed since it was first read; start again, "
                "if it happens again after `craft data cache --clear`",
            )
        return data

    def _read(self) -> bytes:
        try:
            return self.image.read()
        except FileNotFoundError as error:
            raise DamagedImage(self.place, f"image {self.image}: there is no such file") from error
        except OSError as error:  # a disk or permission error, not a damaged image
            why = error.strerror or str(error)
            raise DataError(self.place, f"image {self.image}: cannot be read, {why}") from error
        except DataError:
            raise
        except ValueError as error:
            raise DataError(self.place, f"image {self.image}: {error}") from error


@dataclass(frozen=True)
class RecordSet:
    """All records read from ``path``, with notes on how they were understood.

    Args:
        notes: one sentence each: which columns, which splits, what was skipped.
        named: whether the data or the user gives names for numeric labels.
        account: everything that was skipped or looks wrong, with reasons.

    Raises:
        DataError: no records, two of one id, labels beside questions, or text that is none: half
            of a character.
    """

    path: Path
    format: str
    records: Sequence[Record]
    notes: tuple[str, ...] = ()
    account: Account = field(default_factory=Account, compare=False)
    named: bool = False

    def __post_init__(self) -> None:
        if not self.records:
            lost = self.left_out
            why = f"; left out: {'; '.join(lost[:3])}" if lost else ""
            raise DataError(Place(self.path), f"holds no records ({self.format}){why}")
        places: dict[str, Place] = {}
        for record in self.records:
            _require_text(record)
            if record.id in places:
                raise DataError(
                    record.place,
                    f"id {record.id!r} was used before, at {places[record.id]}; give every record "
                    "a unique id, or leave ids out",
                )
            places[record.id] = record.place
            if bool(record.turns) == (record.label is not None):
                what = "both a label and questions" if record.turns else "no label and no question"
                raise DataError(record.place, f"record {record.id!r} has {what}; give it one")
        first = self.records[0]
        for record in self.records:
            if (record.label is None) != (first.label is None):
                kinds = (
                    ("questions", "a label") if first.label is None else ("a label", "questions")
                )
                raise DataError(
                    record.place,
                    f"this record has {kinds[1]}, the first one ({first.place}) has {kinds[0]}; "
                    "a data set must have one or the other",
                )

    def mapped(self, pixel_range: PixelRange | None) -> RecordSet:
        """Return the same records with a pixel range."""
        if pixel_range is None:
            return self
        return replace(self, records=[replace(r, pixel_range=pixel_range) for r in self.records])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The places and reasons of images that could not be read and were skipped on request."""
        return self.account.skipped(UNREADABLE)

    @property
    def labelled(self) -> bool:
        """Whether records have class labels instead of questions."""
        return self.records[0].label is not None

    @property
    def numbered(self) -> bool:
        """Whether the classes are numbers without names."""
        return self.labelled and not self.named and are_numbers(self.labels)

    @property
    def labels(self) -> list[str]:
        """The classes as written in the data, sorted."""
        return sorted({r.label for r in self.records if r.label is not None})

    @property
    def split_counts(self) -> dict[str | None, int]:
        """Split -> number of records; None stands for records without a split."""
        return dict(Counter(r.split for r in self.records))


def _require_text(record: Record) -> None:
    """Raises DataError for half of a surrogate pair, as JSON can say it and no file can hold it."""
    said = {"id": (record.id,), "label": (record.label or "",), "caption": record.captions}
    for turn in record.turns:
        said |= {"question": (turn.question,), "answer": (turn.answer,), "options": turn.options}
        _require_encodable(said, record.place)
    _require_encodable(said, record.place)


def _require_encodable(said: Mapping[str, Sequence[str]], place: Place) -> None:
    for what, texts in said.items():
        for text in texts:
            if not isinstance(text, str):  # such as the name that a data set gives a class
                raise DataError(place, f"{what} must be text, got {text!r:.60}")
            if not text.isascii() and (half := _HALF.search(text)):
                raise DataError(
                    place,
                    f"{what} {text!r:.60} holds half of a character, {half[0]!r}; write the whole "
                    "character, or leave it out",
                )
