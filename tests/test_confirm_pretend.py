"""The pretended accelerator: programs train on it as on a GPU, and fail where a GPU would."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore:.*grad_scaler.*")]

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from torchlint.confirm.pretend import PretendedAccelerator  # noqa: E402

SAME_DEVICE = "Expected all tensors to be on the same device, but found at least two devices"


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Switches the accelerator on; the messages that it reports."""
    messages: list[str] = []
    with PretendedAccelerator(messages.append).installed():
        yield messages


class Everything(nn.Module):  # type: ignore[misc]
    """A bit of each kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.2)
        self.recurrent = nn.LSTM(16, 16, batch_first=True, num_layers=2, dropout=0.1)
        self.attention = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        h = self.norm(self.conv(self.embedding(x).transpose(1, 2))).transpose(1, 2)
        mask = torch.ones(x.size(1), x.size(1), device=x.device).triu(1).bool()
        h, _ = self.recurrent(self.attention(self.drop(h), src_mask=mask))
        return self.out(h[:, -1] + torch.zeros_like(h[:, 0]) + torch.tensor(1.0))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_program_trains_to_its_end(told: list[str], kind: str) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = torch.utils.data.TensorDataset(torch.randint(0, 20, (32, 8)), torch.randint(0, 3, (32,)))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, pin_memory=True)
    model = Everything().to(device)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    criterion = nn.CrossEntropyLoss(weight=torch.ones(3, device=device))
    scaler = torch.amp.GradScaler("cuda")
    start = copy.deepcopy(model.state_dict())
    for _ in range(2):
        for x, y in loader:
            x, y = x.to(device, non_blocking=True), y.cuda()
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                output = model(x)
                loss = criterion(output, y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            assert output.device == torch.device("cuda", 0)
            assert output.is_cuda
            assert all(p.grad.is_cuda for p in model.parameters())
        schedule.step()
    assert told == []
    assert all(p.is_cuda for p in model.parameters())
    assert model.norm.running_mean.device.type == "cuda"
    assert not torch.equal(model.out.weight, start["out.weight"].to(device))


def _cuda(*shape: int) -> Any:
    return torch.ones(*shape, device="cuda")


@pytest.mark.parametrize(
    "mix",
    [
        lambda: _cuda(3) + torch.ones(3),
        lambda: torch.ones(3) + _cuda(3),
        lambda: torch.ones(3).add_(_cuda(3)),
        lambda: torch.ones(3) * torch.tensor(2.0, device="cuda"),  # only a CPU number may meet anything
        lambda: nn.Linear(3, 3).cuda()(torch.ones(3)),
        lambda: nn.Linear(3, 3)(_cuda(3)),
        lambda: nn.Embedding(4, 3).cuda()(torch.tensor([1])),
        lambda: nn.BatchNorm1d(3).cuda()(torch.ones(2, 3)),
        lambda: F.cross_entropy(_cuda(2, 3), torch.tensor([0, 1])),
        lambda: nn.MSELoss()(_cuda(3), torch.ones(3)),
        lambda: torch.cat([_cuda(3), torch.ones(3)]),
        lambda: torch.stack([torch.ones(3), _cuda(3)]),
        lambda: torch.where(_cuda(3) > 0, torch.ones(3), _cuda(3)),
        lambda: _cuda(3) @ torch.ones(3),
        lambda: torch.equal(_cuda(3), torch.ones(3)),
        lambda: nn.LSTM(3, 3).cuda()(_cuda(1, 1, 3), (torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))),
    ],
)
def test_tensors_of_two_devices_do_not_meet(told: list[str], mix: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match=SAME_DEVICE):
        mix()
    assert len(told) == 1
    assert told[0].startswith(SAME_DEVICE)


@pytest.mark.parametrize(
    ("mix", "error", "message"),
    [
        (
            lambda: nn.Conv1d(1, 1, 1).cuda()(torch.ones(1, 1, 3)),
            RuntimeError,
            r"Input type \(torch.FloatTensor\) and weight type \(torch.cuda.FloatTensor\) should be the same",
        ),
        (
            lambda: torch.ones(3)[torch.tensor([0], device="cuda")],
            RuntimeError,
            "indices should be either on cpu or on the same device",
        ),
        (lambda: _cuda(3).numpy(), TypeError, "can't convert cuda:0 device type tensor to numpy"),
        (
            lambda: setattr(nn.Parameter(_cuda(3)), "grad", torch.ones(3)),
            RuntimeError,
            "assigned grad has data located on a different device",
        ),
        (
            lambda: nn.utils.rnn.pack_padded_sequence(_cuda(2, 1, 3), torch.tensor([2], device="cuda")),
            RuntimeError,
            "should be a 1D CPU int64 tensor",
        ),
    ],
)
def test_other_refusals_are_in_cudas_words(
    told: list[str], mix: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mix()
    assert len(told) == (error is RuntimeError and "grad has" not in message)


@pytest.mark.parametrize(
    "allowed",
    [
        lambda: _cuda(3) * 2.0,
        lambda: _cuda(3) + torch.tensor(1.0),
        lambda: _cuda(3)[torch.tensor([0, 2])],
        lambda: _cuda(3).copy_(torch.ones(3)),
        lambda: torch.where(_cuda(3) > 0, _cuda(3), torch.tensor(0.0)),
        lambda: _cuda(4, 3).to(torch.ones(2, device="cuda").device),
        lambda: nn.Linear(3, 2, device="cuda")(_cuda(3)),
        lambda: torch.zeros_like(_cuda(3)) + _cuda(3).new_ones(3),
        lambda: torch.ones(3).to(_cuda(1)) + _cuda(3),
        lambda: torch.as_tensor([1.0, 2.0], device="cuda:0") + _cuda(2),
        lambda: _cuda(2, 3).view(3, 2).T.contiguous().flatten()[1:],
        lambda: copy.deepcopy(nn.Linear(3, 3).cuda())(_cuda(3)),
        lambda: nn.utils.rnn.pack_padded_sequence(_cuda(2, 1, 3), torch.tensor([2])).data,
        lambda: nn.DataParallel(nn.Linear(3, 3)).cuda()(torch.ones(2, 3)),
        lambda: torch.randn(2, device="cuda", generator=torch.Generator(device="cuda")),
        lambda: torch.randperm(4, device="cuda"),
    ],
)
def test_what_a_gpu_allows_is_allowed_and_stays_there(told: list[str], allowed: Callable[[], Any]) -> None:
    result = allowed()
    assert result.is_cuda
    assert not result.is_cpu
    assert result.get_device() == 0
    assert told == []


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_keep_their_sizes_on_the_cpu(told: list[str], kind: type[Any]) -> None:
    packed = nn.utils.rnn.pack_padded_sequence(_cuda(3, 2, 4), torch.tensor([3, 1]))
    output, _ = kind(4, 5).cuda()(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(output)
    assert (padded.device.type, lengths.device.type) == ("cuda", "cpu")
    assert lengths.tolist() == [3, 1]
    padded.sum().backward()
    assert told == []
    with pytest.raises(RuntimeError, match=SAME_DEVICE):
        kind(4, 5)(packed)


def test_moves_copy_and_come_back(told: list[str]) -> None:
    here = torch.arange(3.0)
    there = here.to("cuda")
    there += 1
    assert here.tolist() == [0, 1, 2]
    assert there.to("cuda") is there
    assert there.type() == "torch.cuda.FloatTensor"
    back = there.cpu()
    assert back.device.type == "cpu"
    assert back.numpy().tolist() == [1, 2, 3]
    assert there.half().is_cuda
    assert here.type(torch.cuda.FloatTensor).is_cuda  # the class itself, which a build for the CPU refuses
    assert there.type(torch.FloatTensor).device.type == "cpu"
    assert here.to("cuda", torch.float64).dtype is torch.float64
    assert here.to(device="cuda", dtype=torch.int64).dtype is torch.int64
    weight = nn.Parameter(here)
    (weight.cuda() * 2).sum().backward()
    assert weight.grad is not None
    assert weight.grad.device.type == "cpu"
    assert told == []


def test_a_module_moves_in_place_and_its_optimizer_follows(told: list[str]) -> None:
    model = nn.Linear(2, 2)
    weight = model.weight
    assert model.cuda().weight is weight
    assert weight.is_cuda
    assert model.cpu().weight is weight
    assert not weight.is_cuda
    assert told == []


def test_saved_weights_come_back_where_they_are_wanted(told: list[str]) -> None:
    file = io.BytesIO()
    torch.save(nn.Linear(2, 2).cuda().state_dict(), file)
    for wanted, kind in (("cuda", "cuda"), ("cpu", "cpu"), (torch.device("cuda", 0), "cuda")):
        file.seek(0)
        assert {t.device.type for t in torch.load(file, map_location=wanted).values()} == {kind}
    assert told == []


def test_a_default_device_is_honoured(told: list[str]) -> None:
    torch.set_default_device("cuda")
    assert torch.zeros(2).is_cuda
    assert nn.Linear(2, 2).weight.is_cuda
    torch.set_default_device("cpu")
    assert not torch.zeros(2).is_cuda
    assert told == []


def test_all_is_as_before_afterwards() -> None:
    had = torch.cuda.is_available()
    accelerator = PretendedAccelerator(lambda message: None)
    with accelerator.installed():
        tensor = torch.zeros(2, device="cuda")
        assert torch.cuda.is_available()
    assert torch.cuda.is_available() is had
    assert (tensor + torch.ones(2)).device.type == "cpu"


def test_dead_tensors_leave_no_trace_to_inherit(told: list[str]) -> None:
    for _ in range(3000):
        torch.ones(2, device="cuda")
        assert (torch.ones(2) + torch.ones(2)).device.type == "cpu"
    assert told == []


def test_tensors_are_made_by_the_classes_of_torch_cuda(told: list[str]) -> None:
    made = torch.cuda.FloatTensor(2, 3).fill_(1.0)
    assert (made.device, made.type(), made.shape) == (torch.device("cuda", 0), "torch.cuda.FloatTensor", (2, 3))
    assert torch.cuda.LongTensor([1, 2]).dtype == torch.int64
    assert [isinstance(one, torch.cuda.FloatTensor) for one in (made, made.long(), torch.zeros(1))] == [
        True,
        False,
        False,
    ]
    assert isinstance(torch.zeros(2).type(torch.cuda.FloatTensor), torch.cuda.FloatTensor)
    plain = torch.zeros(3)
    assert torch.cuda.FloatTensor(plain).is_cuda
    assert not plain.is_cuda, "it was copied"
    with pytest.raises(RuntimeError, match=SAME_DEVICE):
        made + torch.ones(2, 3)
    torch.set_default_tensor_type("torch.cuda.FloatTensor")
    assert torch.zeros(1).is_cuda
    torch.set_default_tensor_type(torch.FloatTensor)
    assert not torch.zeros(1).is_cuda
