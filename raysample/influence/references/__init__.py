"""What scores need from elsewhere than the visited model, prepared once before the scoring and read by every worker.

`prepare` builds what is missing below a folder, `load` reads what one checkpoint needs of it. The kinds are described
in `raysample.influence.scores.reference`, each builder in its own module here.
"""

from raysample.influence.references.folder import Loaded, Request, load_reference
from raysample.influence.references.preparation import prepare_references
from raysample.influence.references.rows import row_keys

__all__ = ["Loaded", "Request", "load_reference", "prepare_references", "row_keys"]
