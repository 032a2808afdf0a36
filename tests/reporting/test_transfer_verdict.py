"""Who wins in a transfer, on fine-tunings made by hand."""

import pytest
from small_transfer import run, transfer

from metainit.reporting import transfer_verdict

END = (
    "of the held-out images are classified rightly in the end; initialisations and "
    "heads as chosen on validation, conditional on this training run (seed 3)."
)


@pytest.mark.parametrize(
    "final, word", [(0.7, "beats"), (0.8, "equals"), (0.9, "loses to")]
)
def test_the_best_on_validation_meets_the_next_best(final: float, word: str) -> None:
    """Of the better one's heads the second best is no initialisation of its own."""
    runs = (
        run("random", "zero", 1, final=0.99, validation=0.3),
        run("b/net.pth", "zero", 1, final=final, validation=0.5),
        run("net.safetensors", "zero", 1, final=0.85, validation=0.6),
        run("net.safetensors", "prototype", 1, final=0.8, validation=0.7),
    )
    assert transfer_verdict.sentence(transfer(*runs), 3) == (
        f"net.safetensors (prototype) {word} the next-best initialisation, b/net.pth "
        f"(zero), on pets: 80.0 % against {100 * final:.1f} % {END}"
    )


def test_one_alone() -> None:
    told = transfer_verdict.sentence(transfer(run("a", "zero", 1)), 3)
    assert told == f"a (zero) is alone on pets: 80.0 % {END}"
