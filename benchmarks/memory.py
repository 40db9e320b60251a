"""Peak memory of a training step, each side in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.runs import ROOT
from benchmarks.steps import inputs, models, training_step
from maskrcnn.precision import best_device


def peak(side: str, height: int, width: int, batch: int, rois: int, objects: int) -> int:
    """Bytes that two training steps add to the process that holds the model; on a GPU, what is allocated there at most."""
    device = best_device()
    model = models(device, height, width, rois)[side]
    step = training_step(side, model, *inputs(height, width, batch, device, objects))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # what was held at most is counted from here on
    before = resident("VmRSS")
    for _ in range(2):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resident("VmHWM") - before


def resident(line: str) -> int:
    """Bytes of memory that this process holds now (VmRSS), or held at most (VmHWM). Linux only: elsewhere OSError.

    getrusage would not do: its maximum is handed down from the process that started this one.
    """
    status = dict(entry.split(":", 1) for entry in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status[line].split()[0]) * 1024


def in_a_process(side: str, height: int, width: int, batch: int = 2, rois: int = 512, objects: int = 4) -> int:
    """`peak`, of a new process: the high-water mark of a process never falls."""
    arguments = json.dumps([side, height, width, batch, rois, objects])
    command = [sys.executable, "-m", "benchmarks.memory", arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    print(peak(*json.loads(sys.argv[1])))
