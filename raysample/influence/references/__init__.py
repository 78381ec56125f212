"""References: data that scores need beyond the visited model, prepared once before scoring and read by every worker.

`prepare_references` builds what is missing in a folder, `load_reference` reads the part of one checkpoint. The kinds
are described in `raysample.influence.scores.reference`; each builder has its own module here.
"""

from raysample.influence.references.folder import Loaded, Request, load_reference
from raysample.influence.references.preparation import prepare_references

__all__ = ["Loaded", "Request", "load_reference", "prepare_references"]
