"""Other ways to per-example gradient norms, one file each, called as their authors mean them to be.

A peer's `build` gets the made-up work and returns a function that gives the norm of every row, in the order of the
mini-batches: what it does before is set-up and timed apart. No file imports its package before `build` is called.
"""

from __future__ import annotations

from tests.helpers.peers import (
    captum_tracin,
    dattri_flat,
    dattri_llm_hooks,
    hand_loop,
    kronfluence_self,
    opacus_ghost,
    torch_func,
)
from tests.helpers.peers.base import Peer

__all__ = ["PEERS", "Peer"]

PEERS: tuple[Peer, ...] = (
    hand_loop.PEER,
    torch_func.PEER,
    opacus_ghost.PEER,
    dattri_llm_hooks.PEER,
    captum_tracin.LOOP,
    captum_tracin.LINEAR,
    captum_tracin.FAST,
    kronfluence_self.PEER,
    dattri_flat.PEER,
)
