"""The published figures of the paper's Table 1, as data, with where they are from and what they are not."""

from __future__ import annotations

from typing import Any

from pbclient.benchmark.package import STEMS

SOURCE = "De Min et al., arXiv 2603.19466, first version, Table 1"
NOTE = (
    "They are of the first version, by their VSOD shares (whole samples of 63, where the filter keeps 42) "
    "on samples from before the filter, and their answers are not at hand: nothing is paired with them, "
    "and nothing tested."
)

# acc in percent and ps, by data set in table order; last their averages as printed.
_TABLE = """
LLaVA-1.5-7B          12.5 0.7  41.3 1.3  27.7 0.0  59.4 0.4  43.0 0.5  70.3 0.7  67.6 0.4  46.0 0.6
LLaVA-NeXT-Mistral-7B  0.0 0.0   9.5 0.2  13.7 0.1  53.9 0.2  12.2 0.1  46.3 1.4  49.1 0.0  26.4 0.3
LLaVA-NeXT-Vicuna-7B  19.3 0.7  25.4 0.9  26.2 0.1  69.2 0.5  22.0 0.7  68.6 0.4  67.7 0.1  42.6 0.5
LLaVA-OV-0.5B         44.3 2.3  20.6 1.9  30.7 0.4  53.6 0.7  45.8 1.1  59.0 0.6  61.0 0.1  45.0 1.0
Qwen2.5-VL-3B          0.0 0.0  31.7 0.0  25.4 0.0  69.5 0.9  29.1 0.1  58.9 0.2  56.6 0.0  38.7 0.2
SmolVLM2-2.2B          0.0 0.0  23.8 0.3  26.6 0.0  55.8 0.5  27.0 0.5  64.0 0.3  59.9 0.0  36.7 0.2
Idefics3-8B           31.8 1.6  31.7 2.1  27.7 0.1  70.0 0.4  27.9 0.5  58.0 0.2  62.2 0.1  44.2 0.7
InternVL3-1B          61.4 2.1  39.7 0.2  29.3 0.3  69.4 0.5  29.2 0.4  61.3 0.1  69.6 0.0  51.4 0.5
InternVL3-2B           1.1 0.0  49.2 0.2  30.5 0.1  76.9 0.6  37.9 0.4  69.3 0.3  77.1 0.1  48.9 0.2
InstructBLIP           0.0 0.0  12.7 1.5  12.8 0.1  18.9 0.1  26.0 0.1  47.6 0.1  26.7 0.0  20.7 0.3
LLaVA-OV-7B            0.0 0.0  30.2 0.3  24.2 0.0  70.3 0.4  46.7 0.3  56.4 0.1  60.0 0.0  41.1 0.2
Qwen2.5-VL-7B          0.0 0.0  17.5 0.0  24.7 0.0  78.5 0.5  34.3 0.1  60.6 0.0  59.5 0.0  39.3 0.1
InternVL3-8B           0.0 0.0  31.7 0.1  23.2 0.0  75.9 0.3  36.0 0.3  58.3 0.1  67.1 0.0  41.7 0.1
Phi-4-Multimodal       1.1 0.0  27.0 0.7  29.5 0.0  66.4 0.7  42.3 0.3  66.0 0.2  64.6 0.1  42.4 0.3
"""


def table() -> dict[str, Any]:
    """{"source", "note", "models": {name: {"datasets": {"ROD": {"acc", "ps"}, ...}, "average": {...}}}}."""
    models = {}
    for line in _TABLE.split("\n")[1:-1]:
        name, *figures = line.split()
        pairs = zip(map(float, figures[::2]), map(float, figures[1::2]), strict=True)
        *of_datasets, average = [{"acc": acc, "ps": ps} for acc, ps in pairs]
        models[name] = {"datasets": dict(zip(STEMS, of_datasets, strict=True)), "average": average}
    return {"source": SOURCE, "note": NOTE, "models": models}


# A data set repository on the hub, and the folder in it.
REPOSITORY = "tdemin16/ProactiveBench"
FOLDER = "test"

# Over all seven data sets; the second is also the length of the installed package's filter.
SAMPLES_BEFORE_FILTER = 17_909
SAMPLES_KEPT = 7_557
# Of ROD every sample is kept.
ROD_SAMPLES = 88
ROD_FRAMES_EACH = 14
