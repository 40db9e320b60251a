import torch

from data.dataset import SmearDataset
from data.inspect.augmentations import augmentation_page, examples
from data.samples import Sample
from data.synthetic.pretraining import pretraining_set
from maskrcnn.config import LISC_CLASSES


def smears() -> SmearDataset:
    cell = torch.zeros(200, 200, dtype=torch.uint8)
    cell[:60, :60] = 1
    box = torch.tensor([[0.0, 0, 60, 60]])
    reference = Sample(torch.zeros(200, 200, 3, dtype=torch.uint8), cell, box, torch.tensor([1]), 0)
    return pretraining_set(SmearDataset([None], [reference], LISC_CLASSES), cells=20, seed=0)


def test_every_example_differs_from_the_original_and_one_has_a_pasted_cell():
    dataset = smears()
    torch.manual_seed(0)
    shown = examples(dataset[0], [dataset[i] for i in range(1, 5)])
    image, target = shown.pop("original")
    assert torch.equal(image, dataset[0][0])
    assert all(not torch.equal(changed, image) for changed, _ in shown.values())
    assert len(shown["copy-paste"][1]["labels"]) > len(target["labels"])
    assert sum(title.startswith("all together") for title in shown) == 4


def test_the_page_has_a_title_for_each_example():
    dataset = smears()
    donors = [dataset[i] for i in range(1, 5)]
    torch.manual_seed(0)
    figure = augmentation_page(dataset[0], donors, dataset.class_names)
    assert [ax.get_title() for ax in figure.axes] == list(examples(dataset[0], donors))
