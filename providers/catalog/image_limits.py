"""How many images a request may carry, how large, and what a provider refuses.

One row of data a provider, each with the page that publishes it. A row holds only what is certain to
be refused: where editions of a page differ the wider one stands. Servers that people run themselves and
providers without a row have no limit here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from providers.catalog import prices as price_map

MIB = 2**20
# Models whose context is no larger than this are limited to fewer images by Anthropic.
SHORT_CONTEXT = 200_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What one request may hold; None where no limit is published.

    `edge` is the longest edge of an image in pixels, `edge_of_many` that of each image in a request of
    more than `many`. `image_bytes` and `request_bytes` count images as base64, as they travel. `whose`
    names the provider in a sentence.
    """

    whose: str = ""
    images: int | None = None
    edge: int | None = None
    many: int = 0
    edge_of_many: int | None = None
    image_bytes: int | None = None
    request_bytes: int | None = None

    def longest_edge(self, images: int) -> int | None:
        """Pixels, for each of so many images."""
        return self.edge_of_many if self.edge_of_many and images > self.many else self.edge


NO_LIMITS = ImageLimits()


def encoded(raw: int) -> int:
    """Bytes of base64 that hold so many bytes."""
    return -(-raw // 3) * 4


# platform.claude.com/docs/en/build-with-claude/vision, "General limits": 600 images (100 with a context of
# 200k tokens), 8000 pixels an edge, 2000 in requests of more than 20 images. The edition of 2026 allows
# 10 MB an image, counted as base64. 32 MB a request: platform.claude.com/docs/en/api/overview.
CLAUDE = ImageLimits(
    "Anthropic", 600, edge=8000, many=20, edge_of_many=2000, image_bytes=10 * MIB, request_bytes=32 * MIB
)
CLAUDE_SHORT = replace(CLAUDE, images=100)

PROVIDERS = {
    # developers.openai.com/api/docs/guides/images-vision, "Image input requirements".
    "openai": ImageLimits("OpenAI", images=500, request_bytes=encoded(50 * MIB)),
    # learn.microsoft.com/azure/ai-services/openai/quotas-limits: images in the conversation history.
    "azure": ImageLimits("Azure", images=50),
    # ai.google.dev/gemini-api/docs/image-understanding; the 20 MB of inline data became 100 MB in
    # January 2026 (blog.google, "Increased file size limits and expanded inputs support in Gemini API").
    "gemini": ImageLimits("Gemini", images=3600, request_bytes=encoded(100 * MIB)),
    # docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding.
    "vertex_ai": ImageLimits("Vertex AI", images=3000),
    # console.groq.com/docs/vision.
    "groq": ImageLimits("Groq", images=5, request_bytes=encoded(4 * MIB)),
    # docs.mistral.ai/capabilities/vision, "FAQ".
    "mistral": ImageLimits("Mistral", images=8, image_bytes=encoded(10 * MIB)),
    # docs.x.ai/docs/guides/image-understanding, "Image input general limits": no limit on their number.
    "xai": ImageLimits("xAI", image_bytes=encoded(20 * MIB)),
}


def limits_of(provider: str, model: str, endpoint: str | None = None) -> ImageLimits:
    """What `model` takes at `provider`, or at a server of one's own when `endpoint` names one.

    Claude has its limits whoever serves it.
    """
    if "claude" in model.lower():
        row = price_map.find(provider, model) or {}
        context = row.get("max_input_tokens")
        return CLAUDE_SHORT if isinstance(context, int) and context <= SHORT_CONTEXT else CLAUDE
    return NO_LIMITS if endpoint is not None else PROVIDERS.get(provider, NO_LIMITS)
