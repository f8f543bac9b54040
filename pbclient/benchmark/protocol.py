"""The two protocols of a run: which answers the environment is given, and how they are generated.

`strict`, this client's own: an answer that was cut off, empty or declined is an outcome of its own and no
answer. `paper`, that of the package's published examples (`tests/mcqa.py`, `tests/oeg.py`): whatever came
is given to the environment, and a picture that the model's processor does not take ends the episode.
"""

from __future__ import annotations

from collections.abc import Mapping

from pbclient.benchmark.package import MCQA, OEG

STRICT, PAPER = "strict", "paper"

# The new tokens that the examples allow. All else is as the model's own settings say, but that they
# sample open-ended answers and verdicts whatever these say.
NEW_TOKENS: Mapping[str, int] = {MCQA: 50, OEG: 2**15}
