"""MoCo: its loss against lightly's and a slow loop, its queues, its target, and shuffled keys in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compmod.pretrain.methods.moco import MoCo, moco_loss
from compmod.pretrain.runtime.distributed import rank, share
from compmod.pretrain.runtime.randomness import permutation
from compmod.pretrain.specs.run import Projector, Run
from small_runs import SAMPLES, SIDE, small, small_batch
from tolerance import rounding
from torch import Tensor, nn

SHAPES = [(4, 3, 6), (16, 8, 5), (7, 32, 40)]  # N, D, K
WORLD = 2


def build(run: Run | None = None, *, queue: int = 2 * SAMPLES, **options: float) -> MoCo:
    torch.manual_seed(0)
    return MoCo(run or small("moco"), SIDE, queue=queue, **options).double()  # type: ignore[arg-type]


# --- reference ---


@pytest.mark.parametrize("temperature", [0.07, 0.2])
@pytest.mark.parametrize("n, d, k", SHAPES)
def test_the_loss_equals_a_slow_loop(
    n: int, d: int, k: int, temperature: float, equal_with_gradients: Callable[..., None]
) -> None:
    def loop(queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
        total = torch.zeros((), dtype=queries.dtype)
        for query, key in zip(queries, keys, strict=True):
            query, key = query / query.square().sum().sqrt(), key / key.square().sum().sqrt()
            positive = torch.exp(query @ key / temperature)
            negatives = torch.stack([torch.exp(query @ row / temperature) for row in queue]).sum()
            total = total - torch.log(positive / (positive + negatives))
        return total / n

    # unit rows, as in a queue, keep the exponentials of the loop in range
    def unit(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda q, key, queue: loss(q, key, F.normalize(queue, dim=1))

    ours = unit(lambda q, key, queue: moco_loss(q, key, queue, temperature))
    equal_with_gradients(ours, unit(loop), (n, d), (n, d), (k, d))


@pytest.mark.parametrize("n, d, k", SHAPES)
def test_the_loss_equals_lightly_with_a_memory_bank(
    n: int, d: int, k: int, equal_with_gradients: Callable[..., None]
) -> None:
    from lightly.loss import NTXentLoss

    # rounded to float32 first, so that both types hold the same numbers
    rows = F.normalize(torch.randn(k, d, generator=torch.Generator().manual_seed(k)), dim=1).double()

    def theirs(query: Tensor, key: Tensor) -> Tensor:
        criterion = NTXentLoss(temperature=0.2, memory_bank_size=(k, d)).double()
        criterion.memory_bank.bank = rows.clone()
        loss: Tensor = criterion(query, key)
        return loss

    equal_with_gradients(lambda q, key: moco_loss(q, key, rows.to(q.dtype), 0.2), theirs, (n, d), (n, d))


# --- queues and keys ---


def test_a_queue_starts_with_unit_rows_one_queue_a_direction() -> None:
    assert build().queue.shape == (2, 2 * SAMPLES, 8)
    assert build(symmetric=0).queue.shape == (1, 2 * SAMPLES, 8)
    lengths = build().queue.norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=rounding(torch.float32, 2 * 8))


def test_the_newest_keys_replace_the_oldest_and_the_pointer_wraps() -> None:
    method = build()
    keys = []
    for step in range(3):
        batch = small_batch("moco", step)
        targets = method.targets(batch)
        keys.append(torch.stack(targets[1:]))
        method.after_step(0.0, method.embed(batch.views).detach(), targets)
    assert method.pointer == SAMPLES
    assert torch.equal(method.queue[:, :SAMPLES], keys[2])
    assert torch.equal(method.queue[:, SAMPLES:], keys[1])


def test_the_loss_of_a_batch_is_the_same_after_its_keys_are_queued() -> None:
    method = build()
    batch = small_batch("moco")
    targets, embedded = method.targets(batch), method.embed(batch.views).detach()
    before = method.loss(embedded, targets)
    method.after_step(0.0, embedded, targets)
    assert torch.equal(method.loss(embedded, targets), before)


def test_both_directions_query_with_one_view_and_take_keys_of_the_other() -> None:
    method = build()
    method.queue[1] = method.queue[1].roll(1, dims=1)  # the two start equal
    batch = small_batch("moco")
    with torch.no_grad():
        key1, key2 = (method.target(view) for view in batch.views)
        z1, z2 = method.embed(batch.views).embeddings
    expected = (moco_loss(z1, key2, method.queue[0], 0.2) + moco_loss(z2, key1, method.queue[1], 0.2)) / 2
    torch.testing.assert_close(method(batch), expected, rtol=1e-12, atol=0)


def test_one_direction_queries_with_the_first_view_only() -> None:
    method = build(symmetric=0)
    batch = small_batch("moco")
    with torch.no_grad():
        key2, z1 = method.target(batch.views[1]), method.embed(batch.views).embeddings[0]
    torch.testing.assert_close(method(batch), moco_loss(z1, key2, method.queue[0], 0.2), rtol=1e-12, atol=0)


def test_keys_made_inside_autocast_enter_the_queue_in_float32() -> None:
    method = build().float()
    batch = small_batch("moco", dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        targets, embedded = method.targets(batch), method.embed(batch.views).detach()
    assert embedded.embeddings[0].dtype == torch.bfloat16
    method.after_step(0.0, embedded, targets)
    assert method.queue.dtype == torch.float32
    lengths = method.queue.norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=rounding(torch.float32, 2 * 8))


@pytest.mark.parametrize("queue", [5, 30])
def test_a_queue_that_no_whole_number_of_batches_fills_is_refused(queue: int) -> None:
    message = f"option 'queue' must be a multiple of the whole batch of {SAMPLES}, not {queue}"
    with pytest.raises(ValueError, match=message):
        build(queue=queue)


# --- networks ---


def test_the_target_moves_by_the_momentum_of_its_share_of_training() -> None:
    for momentum, final, middle in ((0.99, 0.999, 0.9945), (0.999, 0.999, 0.999)):
        method = build(momentum=momentum, final_momentum=final)
        with torch.no_grad():
            for parameter in method.projector.parameters():
                parameter += 1
        before = [p.clone() for p in method.target.parameters()]
        batch = small_batch("moco")
        method.after_step(0.5, method.embed(batch.views).detach(), method.targets(batch))
        online = [*method.backbone.parameters(), *method.projector.parameters()]
        for after, start, new in zip(method.target.parameters(), before, online, strict=True):
            torch.testing.assert_close(after, middle * start + (1 - middle) * new)


@pytest.mark.parametrize("layers, kinds", [(1, [nn.Linear]), (2, [nn.Linear, nn.ReLU, nn.Linear])])
def test_the_projector_has_no_batch_norm(layers: int, kinds: list[type[nn.Module]]) -> None:
    run = replace(small("moco"), projector=Projector(layers=layers, hidden=12, out=8))
    projector = build(run).projector
    assert [type(layer) for layer in projector.children()] == kinds
    assert [type(layer) for layer in build(run).target[1].children()] == kinds


# --- shuffled keys ---


def separate() -> MoCo:
    """A method whose batch-norm statistics are each process's own."""
    return build(replace(small("moco"), norm_groups=WORLD))


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes made of its half of a batch."""
    folder = tmp_path_factory.mktemp("moco")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder)]
    started = [subprocess.Popen([*command, str(number)], env=environment) for number in range(WORLD)]
    assert [process.wait(timeout=120) for process in started] == [0] * WORLD
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(WORLD)]


def test_every_key_comes_back_to_its_own_query(shuffled: list[dict[str, Tensor]]) -> None:
    method = separate().eval()  # with running statistics a key depends on its own image only
    with torch.no_grad():
        expected = F.normalize(method.target(small_batch("moco").views[1]), dim=1)
    found = torch.cat([process["eval keys"] for process in shuffled])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_keys_batch_norm_statistics_are_those_of_the_shuffled_group(shuffled: list[dict[str, Tensor]]) -> None:
    method, step = separate(), 5
    images = small_batch("moco", step).views[1]
    expected = torch.empty(SAMPLES, 8, dtype=torch.float64)
    for group in permutation(small("moco").seed, step, SAMPLES).chunk(WORLD):
        with torch.no_grad():
            expected[group] = F.normalize(method.target(images[group]), dim=1)
    found = torch.cat([process["keys"] for process in shuffled])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_keys_group_has_images_of_both_processes(shuffled: list[dict[str, Tensor]]) -> None:
    own = small_batch("moco", 5).views[1].chunk(WORLD)
    for number, process in enumerate(shuffled):
        held = [any(torch.equal(image, mine) for mine in own[number]) for image in process["seen"]]
        assert 0 < sum(held) < len(held)


def test_both_processes_queue_the_keys_of_the_whole_batch(shuffled: list[dict[str, Tensor]]) -> None:
    keys = torch.cat([process["keys"] for process in shuffled])
    for process in shuffled:
        assert torch.equal(process["queue"][0, :SAMPLES], keys)


def work(folder: Path) -> None:
    """One of the two processes: keys of its half of a batch, in eval and in train mode, and the queue after."""
    method = separate()
    seen: list[Tensor] = []
    method.target.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    batches = [small_batch("moco", step) for step in (0, 5)]
    halves = [replace(b, views=tuple(share(view) for view in b.views)) for b in batches]
    eval_keys = method.eval().targets(halves[0])[1]
    seen.clear()
    targets = method.train().targets(halves[1])
    method.after_step(0.0, method.embed(halves[1].views).detach(), targets)
    made = {"eval keys": eval_keys, "keys": targets[1], "seen": seen[0], "queue": method.queue}
    torch.save(made, folder / f"{rank()}.pt")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    meeting = f"file://{place / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=int(sys.argv[2]), world_size=WORLD)
    work(place)
    torch.distributed.destroy_process_group()
