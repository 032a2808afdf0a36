"""How often each program was compiled."""

import collections
import hashlib

from jax._src import compiler

LINES = 20  # of StableHLO, from which on a program is more than a single operation


def counted(patch):
    """Counts programs, by name and text, as the compiler is given them.

    Until `patch`, a MonkeyPatch, is undone.
    """
    counter = collections.Counter()
    compile_or_get_cached = compiler.compile_or_get_cached

    def counting(backend, computation, *args, **kwargs):
        text = str(computation)
        if text.count("\n") > LINES:
            name = computation.operation.attributes["sym_name"].value
            counter[name, hashlib.sha256(text.encode()).hexdigest()[:8]] += 1
        return compile_or_get_cached(backend, computation, *args, **kwargs)

    patch.setattr(compiler, "compile_or_get_cached", counting)
    return counter


def repeated(counter):
    """Lists the programs that were compiled more than once."""
    return [program for program, times in counter.items() if times > 1]
