"""python -m benchmarks.report: write plots and tables of docs/performance.md from the newest rows.

Only the text between the two marks of a table is written.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks import results
from craft.report.documents import between_marks

matplotlib.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).parents[1] / "docs"
CASE = ("dim", "levels", "tokens", "shared", "threads")


def newest(rows: list[dict[str, str]]) -> dict[tuple[str, ...], dict[str, dict[str, str]]]:
    """Rows of the last run, by case and variant."""
    cases: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: row["date"]):
        case = cases.setdefault(tuple(row[key] for key in CASE), {})
        if case and next(iter(case.values()))["date"] != row["date"]:
            case.clear()
        case[row["variant"]] = row
    return cases


def name_of(case: tuple[str, ...]) -> str:
    dim, levels, tokens, shared, threads = case
    books = "shared" if shared == "True" else "separate"
    return f"D={dim}, L={levels}, N={tokens}, {books}, {threads} thread{'s' * (threads != '1')}"


def share_of_limit(row: dict[str, str]) -> str:
    return f"{100 * float(row['of_limit']):.0f} %" if row["of_limit"] else ""


def by_processor(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Rows by processor and instruction set, which are never mixed."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(f"{row['processor']}, {row['isa']}", []).append(row)
    return groups


def notes(rows: list[dict[str, str]]) -> list[str]:
    """Notes on the limit and on FAISS's BLAS."""
    units = sorted({row["limit_unit"] for row in rows if row["limit_unit"]})
    blas = sorted({row["faiss_blas"] for row in rows if row["faiss_blas"]})
    lines = []
    if units:
        lines.append(
            "The limit is the time of the products alone (one for a shared codebook, one per level "
            f"for separate ones) at the peak of {' and '.join(units)}, measured in the same run."
        )
    if blas:
        lines.append(f"FAISS multiplied with {' and '.join(blas)}.")
    return lines


def quantisation_table(cases) -> list[str]:
    lines = [
        "| case | variant | × one torch.mm | × ours | p20 / p50 / p80 ms | brute-force TFLOP/s "
        "| of float32 FMA peak | of the limit | wrong tokens | peak extra MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, variants in cases.items():
        ours = float(variants["ours"]["p50_ms"])
        for name, row in sorted(variants.items(), key=lambda item: float(item[1]["p50_ms"])):
            wrong = f"{100 * float(row['wrong_tokens']):.1f} %" if row["wrong_tokens"] else ""
            lines.append(
                f"| {name_of(case)} | {name} | {float(row['times_one_mm']):.2f} "
                f"| {float(row['p50_ms']) / ours:.2f} "
                f"| {row['p20_ms']} / {row['p50_ms']} / {row['p80_ms']} "
                f"| {row['brute_force_tflops']} | {100 * float(row['of_fma_peak']):.0f} % "
                f"| {share_of_limit(row)} | {wrong} | {row['peak_extra_mib']} |"
            )
    return lines


def pruning_table(rows: list[dict[str, str]]) -> list[str]:
    last = {(row["tokens"], row["batch"], row["variant"]): row for row in rows}
    lines = [
        "| tokens | images | variant | µs per image | × ours |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (tokens, batch, variant), row in last.items():
        ours = float(last[tokens, batch, "ours"]["p50_us_per_image"])
        mine = float(row["p50_us_per_image"])
        lines.append(f"| {tokens} | {batch} | {variant} | {mine:.1f} | {mine / ours:.2f} |")
    return lines


INFERENCE = {
    "stage": "stage",
    "keep_ratio": "keep ratio",
    "visual_tokens": "visual tokens",
    "gflop": "GFLOP",
    "flops_change_percent": "change %",
    "p50_ms": "median ms",
    "latency_change_percent": "change %",
    "peak_extra_mib": "peak extra MiB",
}
TRAINING = {
    "variant": "variant",
    "p50_s": "median s",
    "time_change_percent": "change %",
    "peak_mib": "peak MiB",
    "memory_change_percent": "change %",
}


def efficiency_table(file: str, columns: dict[str, str]) -> list[str]:
    """Rows of the last run, with one titled column per entry of ``columns``."""
    rows = results.read(file)
    rows = [row for row in rows if row["date"] == rows[-1]["date"]]
    last = rows[-1]
    return [
        f"{last['date'][:10]}, {last['threads']} threads, {last['text_tokens']} tokens of text.",
        "",
        f"| {' | '.join(columns.values())} |",
        "| --- " * len(columns) + "|",
        *(f"| {' | '.join(row[key] for key in columns)} |" for row in rows),
    ]


def machine_lines(rows: list[dict[str, str]]) -> list[str]:
    keys = ("processor", "isa", "torch", "faiss", "scikit_learn", "vector_quantize_pytorch")
    seen = {(*(row[key] for key in keys), row["date"][:10]) for row in rows}
    return [
        f"Measured on {date}: {processor} ({isa}); torch {torch}, faiss-cpu {faiss}, scikit-learn "
        f"{sklearn}, vector-quantize-pytorch {vq}."
        for processor, isa, torch, faiss, sklearn, vq, date in sorted(seen)
    ]


def plot(cases, path: Path) -> None:
    figure, axes = plt.subplots(len(cases), 1, figsize=(8, 2.2 * len(cases)), squeeze=False)
    for axis, (case, variants) in zip(axes[:, 0], cases.items(), strict=True):
        ranked = sorted(variants, key=lambda name: -float(variants[name]["times_one_mm"]))
        ratios = [float(variants[name]["times_one_mm"]) for name in ranked]
        colours = ["C1" if name.startswith("ours") else "C0" for name in ranked]
        axis.barh(ranked, ratios, color=colours)
        axis.set_xscale("log")
        axis.axvline(1, color="black", linewidth=0.5)
        axis.set_title(name_of(case), fontsize=9)
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("time in units of one torch.mm of level 1")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def replace_between(text: str, mark: str, lines: list[str]) -> str:
    return between_marks(text, f"<!-- {mark} -->", f"<!-- end of {mark} -->", "\n".join(lines))


def main() -> None:
    document = DOCS / "performance.md"
    text = document.read_text()
    rows = results.read("residual_quantize.csv")
    sections = []
    for processor, own in by_processor(rows).items():
        cases = newest(own)
        kept = [row for case in cases.values() for row in case.values()]
        plotted = f"performance-{kept[0]['isa']}.svg"
        plot(cases, DOCS / plotted)
        sections += [f"### {processor}", "", *machine_lines(kept), *notes(kept), ""]
        sections += [f"![times in units of one torch.mm]({plotted})", ""]
        sections += [*quantisation_table(cases), ""]
    text = replace_between(text, "residual quantisation", sections[:-1])
    pruning = results.read("prune_order.csv")
    sections = []
    for processor, own in by_processor(pruning).items():
        sections += [f"### {processor}", "", *machine_lines(own), "", *pruning_table(own), ""]
    text = replace_between(text, "pruning", sections[:-1])
    prefill = efficiency_table("inference_efficiency.csv", INFERENCE)
    text = replace_between(text, "inference", prefill)
    training = efficiency_table("training_efficiency.csv", TRAINING)
    text = replace_between(text, "training", training)
    document.write_text(text)


if __name__ == "__main__":
    main()
