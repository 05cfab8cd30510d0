"""That the suite sees what is broken: a few mutants, and that the table of all of them fits what is there."""

import pytest

from spec.claims import CLAIMS
from spec.mutants import MUTANTS, RUST_ALONE
from spec.mutate import applied, run

FEW = ("flow", "published modules", "libraries", "modules without a platform")


@pytest.mark.parametrize("family", FEW)
def test_a_mutant_turns_its_rows_red(family):
    (mutant,) = (mutant for mutant in MUTANTS if mutant.family == family)
    seen = run(mutant)
    assert not seen.survived, seen.output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.family} {mutant.claims}")
def test_an_edit_fits_the_file_that_it_breaks(mutant, tmp_path):
    assert mutant.after in applied(mutant, tmp_path).read_text()


def test_every_claim_has_a_mutant():
    broken = {claim for mutant in MUTANTS for claim in mutant.claims}
    assert set(CLAIMS) - broken - set(RUST_ALONE) == set()
