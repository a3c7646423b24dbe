from dataclasses import replace
from pathlib import Path

import pytest

from airdraft.messages import Load
from edge.settings import DrafterSettings
from orchestration.cli import checks
from orchestration.cli.checks import Status
from orchestration.cli.options import parse_drafter
from tests.tiny_models import tiny_llama
from tests.tiny_pair import VOCABULARY, save, save_pair, tokenizer
from tests.wire_examples import DESCRIPTION


def drafter_settings(text: str) -> DrafterSettings:
    return DrafterSettings.parse(parse_drafter(text))


def test_a_library_that_is_missing_fails_only_where_it_is_needed() -> None:
    missing = checks.library("no_such_library", needed=True)
    assert missing.status is Status.FAIL and "pip install" in missing.advice
    assert checks.library("no_such_library", needed=False).status is Status.WARN
    assert checks.library("numpy", needed=True).status is Status.OK


def test_a_drafter_that_is_not_here_fails_with_the_command_that_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path))
    found = {check.name: check for check in checks.local_checks(drafter_settings("model:smollm2-135m"), None)}
    assert found["drafter"].status is Status.FAIL and found["drafter"].advice == "airdraft models fetch smollm2-135m"
    assert found["models here"].found == "none of the known ones"
    assert found["pair"].status is Status.UNKNOWN


def test_a_pair_that_fits_says_how_many_tokens_it_shares(tmp_path: Path) -> None:
    target, drafter = save_pair(tmp_path)
    assert checks.pair(str(drafter), str(target)).status is Status.OK
    assert str(VOCABULARY) in checks.pair(str(drafter), str(target)).found


def test_a_pair_that_does_not_fit_fails_with_the_first_difference(tmp_path: Path) -> None:
    target, _ = save_pair(tmp_path)
    other = save(tiny_llama(vocabulary=VOCABULARY + 1), tmp_path / "other")
    longer = tokenizer()
    longer.add_tokens(["<|more|>"])
    longer.save_pretrained(other)
    found = checks.pair(str(other), str(target))
    assert found.status is Status.FAIL and "<|more|>" in found.found


def test_a_lookup_needs_no_model_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRDRAFT_CACHE", str(tmp_path))
    found = list(checks.local_checks(drafter_settings("lookup"), "whatever"))
    assert not {check.name for check in found} & {"drafter", "pair"}
    assert Status.FAIL not in {check.status for check in found}


def test_a_verifier_that_is_full_or_leaving_is_no_plain_ok() -> None:
    assert checks.verifier(replace(DESCRIPTION, load=Load(1, 8, 0, False))).status is Status.OK
    assert checks.verifier(replace(DESCRIPTION, load=Load(8, 8, 0, False))).status is Status.WARN
    assert checks.verifier(replace(DESCRIPTION, load=Load(1, 8, 0, True))).status is Status.FAIL


def test_a_tokenizer_other_than_the_verifier_s_fails() -> None:
    assert checks.served_tokenizer(DESCRIPTION.tokenizer_digest, DESCRIPTION).status is Status.OK
    assert checks.served_tokenizer(b"another", DESCRIPTION).status is Status.FAIL
