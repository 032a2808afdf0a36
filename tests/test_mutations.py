"""The mutations of tests/mutations.py fit the code; whether tests notice, it tells."""

import pathlib

import mutations


def test_every_mutation_has_its_place_and_its_test() -> None:
    for name, test, edits in mutations.MUTATIONS:
        for edit in edits:
            assert mutations.changed(*edit), name
        file, _, function = test.partition("::")
        tests = (pathlib.Path(__file__).parent / file).read_text()
        assert f"def {function.partition('[')[0]}(" in tests, name
