"""A damaged manifest is a manifest of the same kind, or refused in one line with its path."""

import json

import pytest

from craft.data.domains.building import make_manifest
from craft.data.domains.manifest import DomainManifest
from craft.data.readers import read_records
from tests.craft.fuzzing import ROUNDS, damaged, fuzz_file, retyped


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
def test_manifests(class_folder, tmp_path, damage, rounds):
    path = tmp_path / "domain.json"
    known = make_manifest(read_records(class_folder))
    known.save(path)

    def read(case):
        found = DomainManifest.load(path).model_dump(mode="json", exclude_unset=True)
        assert repr(found) == repr(json.loads(case))  # as it stands there, nothing made of it

    fuzz_file(path, read, rounds, damage)
