"""Models on the Hub to begin with, as data: all by their families' rows, with safetensors weights, 0.1 to 8 billion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """A model on the Hub; its parameters as its card counts them, in millions."""

    id: str
    millions: int
    gated: bool = False  # whether its terms must be accepted there first

    def bytes(self, element_size: int = 2) -> int:
        """What its weights take at so many bytes a parameter; 2 is bfloat16."""
        return self.millions * 1_000_000 * element_size


SUGGESTIONS: tuple[Suggestion, ...] = (  # from small to large
    Suggestion("openai-community/gpt2", 124),
    Suggestion("HuggingFaceTB/SmolLM2-135M-Instruct", 135),
    Suggestion("EleutherAI/pythia-160m", 162),
    Suggestion("google/gemma-3-270m-it", 268, gated=True),
    Suggestion("HuggingFaceTB/SmolLM2-360M-Instruct", 362),
    Suggestion("EleutherAI/pythia-410m", 405),
    Suggestion("Qwen/Qwen2.5-0.5B-Instruct", 494),
    Suggestion("bigscience/bloom-560m", 559),
    Suggestion("Qwen/Qwen3-0.6B", 596),
    Suggestion("google/gemma-3-1b-it", 1000, gated=True),
    Suggestion("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1100),
    Suggestion("meta-llama/Llama-3.2-1B-Instruct", 1236, gated=True),
    Suggestion("EleutherAI/pythia-1.4b", 1415),
    Suggestion("allenai/OLMo-2-0425-1B-Instruct", 1485),
    Suggestion("Qwen/Qwen2.5-1.5B-Instruct", 1544),
    Suggestion("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1711),
    Suggestion("Qwen/Qwen3-1.7B", 1721),
    Suggestion("google/gemma-2-2b-it", 2614, gated=True),
    Suggestion("HuggingFaceTB/SmolLM3-3B", 3075),
    Suggestion("Qwen/Qwen2.5-3B-Instruct", 3086),
    Suggestion("meta-llama/Llama-3.2-3B-Instruct", 3213, gated=True),
    Suggestion("microsoft/Phi-3.5-mini-instruct", 3821),
    Suggestion("Qwen/Qwen3-4B", 4022),
    Suggestion("mistralai/Mistral-7B-Instruct-v0.3", 7248),
    Suggestion("allenai/OLMo-2-1124-7B-Instruct", 7299),
    Suggestion("Qwen/Qwen2.5-7B-Instruct", 7616),
    Suggestion("meta-llama/Llama-3.1-8B-Instruct", 8030, gated=True),
)


def fitting(room: int, element_size: int = 2) -> tuple[Suggestion, ...]:
    """Those whose weights take at most `room` bytes."""
    return tuple(s for s in SUGGESTIONS if s.bytes(element_size) <= room)
