"""A damaged manifest is read with equal content, or refused with one line that has its path."""

import json

import pytest

from craft.data.domains.building import make_manifest
from craft.data.domains.manifest import DomainManifest
from craft.data.readers import read_records
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped


def as_read(text):
    """The representation of a manifest, since True == 1."""
    return repr(json.loads(text, parse_int=float))


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_manifests(class_folder, tmp_path, damage, rounds):
    path = tmp_path / "domain.json"
    known = make_manifest(read_records(class_folder))
    known.save(path)

    def read(case):
        found = DomainManifest.load(path).model_dump(mode="json", exclude_unset=True)
        # As it stands there, nothing made of it; but 0 is a fraction too.
        assert as_read(json.dumps(found)) == as_read(case)

    fuzz_file(path, read, rounds, damage)
