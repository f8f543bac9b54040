"""What is published about the data (De Min et al., ProactiveBench, arXiv 2603.19466).

Only what is known for sure; the figures of models are in `paper`. Which samples the benchmark
keeps is not here: the installed package's own filter says so (`pbclient.benchmark.kept_ids`).
"""

from __future__ import annotations

# A data set repository on the hub, and the folder in it.
REPOSITORY = "tdemin16/ProactiveBench"
FOLDER = "test"

# Over all seven data sets; the second is also the length of the installed package's filter.
SAMPLES_BEFORE_FILTER = 17_909
SAMPLES_KEPT = 7_557
# Of ROD every sample is kept.
ROD_SAMPLES = 88
ROD_FRAMES_EACH = 14
