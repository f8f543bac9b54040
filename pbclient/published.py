"""What is published about the data, as data with its source.

Only what is known for sure; the figures of models are in `paper`. Which samples the benchmark
keeps is not here: the installed package's own filter says so (`pbclient.benchmark.kept_ids`).
"""

from __future__ import annotations

SOURCE = "De Min et al., ProactiveBench, arXiv 2603.19466"

# Over all seven data sets; the second is also the length of the installed package's filter.
SAMPLES_BEFORE_FILTER = 17_909
SAMPLES_KEPT = 7_557
# Of ROD every sample is kept.
ROD_SAMPLES = 88
ROD_FRAMES_EACH = 14
# Rounded in the source, so nothing is held against it.
ABOUT_IMAGES = 108_000
