"""Peak memory of a training step, each side in a separate process."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.experiments.train_runs import ROOT
from benchmarks.speed.steps import inputs, models, training_step
from maskrcnn.inference.device import best_device


def peak(side: str, height: int, width: int, batch: int, rois: int, objects: int) -> int:
    """Bytes that two training steps add to a process with the model; on a GPU, the most that is allocated there."""
    device = best_device()
    model = models(device, height, width, rois)[side]
    step = training_step(side, model, *inputs(height, width, batch, device, objects))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark starts again from here
    before = resident("VmRSS")
    for _ in range(2):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resident("VmHWM") - before


def resident(line: str) -> int:
    """Bytes of memory that this process has now (VmRSS), or had at most (VmHWM). Linux only: elsewhere OSError.

    getrusage cannot be used: its maximum is inherited from the process that started this one.
    """
    status = dict(entry.split(":", 1) for entry in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status[line].split()[0]) * 1024


def in_a_process(side: str, height: int, width: int, batch: int = 2, rois: int = 512, objects: int = 4) -> int:
    """`peak` in a new process, since the high-water mark of a process never falls."""
    arguments = json.dumps([side, height, width, batch, rois, objects])
    command = [sys.executable, "-m", "benchmarks.speed.memory", arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    print(peak(*json.loads(sys.argv[1])))
