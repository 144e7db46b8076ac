"""How fast models are beside each other: prefill and decode, in one run, in turns, with the limit that memory sets."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..generation.decoder import Decoder
from ..jobs import Job, Progress, job
from ..models.footprint import bytes_held, bytes_read
from .memory import peak_beyond

REPEATS = 7
TOKENS = 8  # decoded in every round
COPIED = 2**27  # bytes of the copied buffer: beyond any cache
PREFILL_MOST = {"cpu": 512, "cuda": 2048}  # longest prompt that is timed, in tokens


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the slowest and fastest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Speed:
    """A model at a batch and a context, measured in turns with the first model of the run."""

    model: str  # its name in the run
    batch: int  # sequences side by side
    context: int  # tokens before the first one that is decoded
    decode: Spread  # tokens per second, of all sequences together
    decode_times: Spread  # times the first model, round by round
    prefill: Spread | None  # prompt tokens per second, of one sequence; None where it was not timed
    prefill_times: Spread | None
    bytes_per_token: int  # weights and keys and values read in one step
    limit: float  # times the first model that the bytes of the weights as they are stored allow at most
    bandwidth: float  # bytes per second, read and written, of a plain copy in the same run
    bandwidth_share: float  # bytes_per_token · steps per second / bandwidth
    held_bytes: int  # of the weights that this model needs
    peak_bytes: int  # held, and the most that was used beyond it while running
    dtype: str
    device: str
    threads: int
    repeats: int
    tokens: int  # decoded in every round

    @property
    def limit_share(self) -> float:
        """How much of what the bytes allow was reached."""
        return self.decode_times.median / self.limit


@job
def speed(
    models: Mapping[str, nn.Module],
    batches: Sequence[int] = (1, 8),
    contexts: Sequence[int] = (128, 512, 2048),
    repeats: int = REPEATS,
    tokens: int = TOKENS,
    prefill_most: int | None = None,
    stored: Mapping[str, int] | None = None,
) -> Job[list[Speed]]:
    """A Speed of every model at every batch and context; the models take turns in every round, the first one dense.

    A round decodes `tokens` tokens from the same context. Prompts are timed for one sequence, up to `prefill_most`
    tokens (512 on a CPU, 2048 on a GPU). Contexts longer than a model reads are left out. `stored`: bytes of weights
    that a step of each model would read in the form it is stored in, where it runs in another (a matrix multiplied out
    reads more, and is no nearer to the limit for it).

    *Limits*: in float16 and bfloat16 on a CPU the bytes count once, though a library may convert them on the way.
    """
    device = next(next(iter(models.values())).parameters()).device
    most = PREFILL_MOST[device.type] if prefill_most is None else prefill_most
    reach = min(getattr(m.config, "max_position_embeddings", None) or 1 << 30 for m in models.values())
    settings = [(b, c) for c in contexts for b in batches if c + tokens <= reach]
    found = []
    for i, (batch, context) in enumerate(settings):
        prefill = None
        if batch == 1 and context <= most:
            prefill = time_prefill(models, context, repeats)
            yield Progress("speed", i, len(settings), f"prefill {context}")
        found += _decode(models, batch, context, repeats, tokens, prefill, stored or {})
        yield Progress("speed", i + 1, len(settings), f"batch {batch}, context {context}", found[-len(models) :])
    return found


def time_prefill(models: Mapping[str, nn.Module], context: int, repeats: int) -> dict[str, list[float]]:
    """Model → seconds that a prompt of `context` tokens takes, round by round."""
    decoders = {name: Decoder(model, context) for name, model in models.items()}
    ids = torch.zeros(1, context, dtype=torch.long, device=next(iter(decoders.values())).device)

    def pass_over(decoder: Decoder) -> None:
        decoder.rewind(0)
        int(decoder.run(ids)[0].argmax())

    return in_turns({name: lambda d=d: pass_over(d) for name, d in decoders.items()}, repeats)


def _decode(
    models: Mapping[str, nn.Module],
    batch: int,
    context: int,
    repeats: int,
    tokens: int,
    prefill: dict[str, list[float]] | None,
    stored: Mapping[str, int],
) -> list[Speed]:
    decoders = {name: Decoder(model, context + tokens) for name, model in models.items()}
    device = next(iter(decoders.values())).device
    start = torch.zeros(batch, 1, dtype=torch.long, device=device)

    def step_on(decoder: Decoder) -> None:
        decoder.rewind(context)
        step = start
        for _ in range(tokens):
            step = decoder.run(step).argmax(-1, keepdim=True)
            step.tolist()  # what shows a token waits for it

    peaks = {}
    for name, decoder in decoders.items():
        peaks[name] = peak_beyond(lambda d=decoder: (d.pretend(batch, context), step_on(d)), device)
    buffer = torch.ones(COPIED // 4, device=device)
    other = torch.empty_like(buffer)
    calls: dict[str, Callable] = {name: lambda d=d: step_on(d) for name, d in decoders.items()}
    times = in_turns({**calls, "": lambda: _copy(buffer, other)}, repeats)
    bandwidth = 2 * COPIED / statistics.median(times[""])
    first = next(iter(models))
    weights = {name: bytes_read(m, batch) for name, m in models.items()}
    kept = {name: _kept(d, context, tokens) for name, d in decoders.items()}
    read = {name: weights[name] + kept[name] for name in models}
    least = {name: stored.get(name, weights[name]) + kept[name] for name in models}
    rows = []
    for name, model in models.items():
        weight = next(model.parameters())
        held = bytes_held(model)
        rows.append(
            Speed(
                name,
                batch,
                context,
                Spread.of([batch * tokens / t for t in times[name]]),
                _times(times, first, name),
                prefill and Spread.of([context / t for t in prefill[name]]),
                prefill and _times(prefill, first, name),
                read[name],
                least[first] / least[name],
                bandwidth,
                read[name] * tokens / statistics.median(times[name]) / bandwidth,
                held,
                held + peaks[name],
                str(weight.dtype).removeprefix("torch."),
                device.type,
                torch.get_num_threads(),
                repeats,
                tokens,
            )
        )
    return rows


def in_turns(calls: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Name → seconds of each of `repeats` rounds; every round calls all of them, every other one in reverse.

    A first round is not counted. What is called waits for the device by itself.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(-1, repeats):
        for name in list(calls)[:: -1 if i % 2 else 1]:
            began = time.perf_counter()
            calls[name]()
            if i >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _times(seconds: Mapping[str, Sequence[float]], first: str, name: str) -> Spread:
    """How many times as fast as the first one, round by round."""
    return Spread.of([a / b for a, b in zip(seconds[first], seconds[name], strict=True)])


def _kept(decoder: Decoder, context: int, tokens: int) -> int:
    """Bytes of keys and values that a step reads, in the middle of a round."""
    decoder.rewind(context)
    return round(decoder.kv_bytes * (1 + tokens / 2 / context))


def _copy(source: Tensor, target: Tensor) -> None:
    target.copy_(source)
    if target.is_cuda:
        torch.cuda.synchronize(target.device)
