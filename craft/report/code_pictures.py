"""Pictures of codes: each patch's code, the patches that pruning keeps, and examples of a code.

They correspond to the paper's Figures 4 and 7, for any encoder and any images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from craft.data.domains.domain import Domain
from craft.data.images.store import shown
from craft.data.questions import seeded
from craft.errors import CraftError
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.plugged import PluggedEncoder
from craft.prior import TokenPrior
from craft.report.figures import LITERAL, name_in_figure, save_figure
from craft.report.patches import code_map, dim_pruned
from craft.runtime.whole_file import whole_file

_INCHES = 2.2
#: Number of training images that example patches are taken from.
PATCH_IMAGES = 1000


def draw_pictures(
    encoder: PluggedEncoder,
    domain: Domain,
    out: Path,
    count: int,
    keep_ratios: Sequence[float],
) -> list[Path]:
    """Draw ``code_maps.png`` from random test images and ``codes.png`` from training images.

    Raises:
        CraftError: the pack has no token prior, which pruning needs.
    """
    tower, prior = encoder.tower, encoder.prior
    if prior is None:
        raise CraftError("the pack has no token prior to prune by; count it with `craft prior`")
    test = domain.test
    drawn = sorted(seeded("pictures").sample(range(len(test)), min(count, len(test))))
    chosen = test.images.take(drawn)
    tokens = VisualTokens(tower, chosen, prior)
    images = shown(chosen, range(len(drawn)), tower.image_size)
    kept = {ratio: tokens.kept(ratio).cpu() for ratio in keep_ratios}
    first_level = tokens.first_level()
    titles = [test.labels[i] or test.ids[i] for i in drawn]
    train = domain.train
    rows = sorted(seeded("patches").sample(range(len(train)), min(PATCH_IMAGES, len(train))))
    seen = train.images.take(rows)
    codes = VisualTokens(tower, seen).first_level()
    patches = shown(seen, range(len(rows)), tower.image_size)
    figures = {
        "code_maps.png": code_map_figure(images, first_level, kept, titles),
        "codes.png": frequent_and_rare_figure(prior, patches, codes),
    }
    for name, figure in figures.items():
        with whole_file(out / name) as written:
            save_figure(figure, written)
    return [out / name for name in figures]


def code_map_figure(
    images: Tensor,  # [n, 3, S, S] in [0, 1]
    codes: Tensor,  # [n, H, W] int64, first level
    kept: Mapping[float, Tensor],  # keep ratio -> [n, H, W] bool
    titles: Sequence[str] = (),
) -> Figure:
    """Draw a row per image: the image, its first-level codes, and what each keep ratio keeps.

    Raises:
        CraftError: there are no images, or the shapes do not match.
    """
    if not len(images):
        raise CraftError("there are no images to draw")
    for name, tensor in {"codes": codes, **{f"kept at {r}": k for r, k in kept.items()}}.items():
        if tensor.ndim != 3 or len(tensor) != len(images):
            raise CraftError(
                f"{name} must be [n, H, W] with n = {len(images)}, got {tuple(tensor.shape)}"
            )
    columns = 2 + len(kept)
    figure = Figure(figsize=(_INCHES * columns, _INCHES * len(images)), layout="constrained")
    panels = figure.subplots(len(images), columns, squeeze=False)
    for row, image in enumerate(images):
        _show(panels[row][0], image)
        title = name_in_figure(titles[row]) if row < len(titles) else ""
        panels[row][0].set_title(title, fontsize=8, **LITERAL)
        _draw_codes(panels[row][1], codes[row])
        for axes, (ratio, masks) in zip(panels[row][2:], kept.items(), strict=True):
            _show(axes, dim_pruned(image, masks[row]))
            axes.set_title(f"{int(masks[row].sum())} of {masks[row].numel()} kept", fontsize=8)
            if row == 0:
                axes.set_title(f"keep ratio {ratio}\n{axes.get_title()}", fontsize=8)
    return figure


def frequent_and_rare_figure(
    prior: TokenPrior,
    images: Tensor,  # [n, 3, S, S] in [0, 1]
    codes: Tensor,  # [n, H, W] int64, first level, of these images
    count: int = 6,
    examples: int = 8,
    seed: int = 0,
) -> Figure:
    """Draw patches of the ``count`` most frequent codes and the ``count`` rarest that occur.

    Each patch is framed and shown with its neighbours.

    Raises:
        CraftError: there are no codes, or the codes are not [n, H, W].
    """
    if codes.ndim != 3 or len(codes) != len(images):
        raise CraftError(
            f"codes must be [n, H, W] with n = {len(images)}, got {tuple(codes.shape)}"
        )
    present = codes.unique()
    ranked = present[prior.counts[present].argsort(descending=True, stable=True)].tolist()
    if not ranked:
        raise CraftError("there are no codes to draw: no images were given")
    frequent = ranked[:count]
    rare = [code for code in ranked[-count:] if code not in frequent]
    figure = Figure(
        figsize=(1.5 + 0.9 * examples, 0.95 * (len(frequent) + len(rare))), layout="constrained"
    )
    panels = figure.subplots(len(frequent) + len(rare), examples, squeeze=False)
    generator = torch.Generator().manual_seed(seed)
    for row, code in enumerate([*frequent, *rare]):
        places = (codes == code).nonzero()
        chosen = places[torch.randperm(len(places), generator=generator)[:examples]].tolist()
        for axes in panels[row]:
            axes.axis("off")
        for axes, (image, y, x) in zip(panels[row], chosen, strict=False):
            _draw_patch(axes, images[image], y, x, codes.shape[1:])
        share = 100 * int(prior.counts[code]) / max(1, prior.total)
        kind = "frequent" if row < len(frequent) else "rare"
        panels[row][0].set_axis_on()
        panels[row][0].set_xticks([])
        panels[row][0].set_yticks([])
        panels[row][0].set_ylabel(
            f"{code} ({kind})\n{share:.2g} %", rotation=0, ha="right", va="center", fontsize=8
        )
    return figure


def _show(axes: Axes, image: Tensor) -> None:
    axes.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.axis("off")


def _draw_codes(axes: Axes, codes: Tensor) -> None:
    """Draw each patch's code as a number and a colour."""
    rows, columns = codes.shape
    picture = F.interpolate(code_map(codes)[None], (rows, columns), mode="nearest")[0]
    _show(axes, picture)
    size = 7 if columns <= 8 else 56 / columns
    for y in range(rows):
        for x in range(columns):
            axes.text(x, y, str(int(codes[y, x])), ha="center", va="center", fontsize=size)


def _draw_patch(axes: Axes, image: Tensor, y: int, x: int, grid: torch.Size) -> None:
    height, width = image.shape[1] // grid[0], image.shape[2] // grid[1]
    padded = F.pad(image[None], (width, width, height, height), mode="replicate")[0]
    # Padding moves the patch by one patch, so these are the corner of its 3 x 3 neighbourhood.
    top, left = y * height, x * width
    _show(axes, padded[:, top : top + 3 * height, left : left + 3 * width])
    axes.axis("on")
    axes.set_xticks([])
    axes.set_yticks([])
    frame = Rectangle((width - 0.5, height - 0.5), width, height, fill=False, color="#d55e00", lw=1)
    axes.add_patch(frame)
