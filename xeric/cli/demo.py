"""``xeric demo``: the paper's study, small, on bundled tasks and bases; its report is the end of it.

Where the package carries no pretrained bases, two small random ones take their place: the path is the same, the texts are
nonsense, and the command says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xeric.cli.options import quiet_libraries, worker_count

if TYPE_CHECKING:
    from xeric.report import Written

__all__ = ["demo", "write_random_base"]

_STUDY = "demo"
_RANDOM = """\
The package carries no pretrained bases, so this study adapts two small RANDOM ones. The path is real, the texts are nonsense,
and no method can beat the trivial baselines."""
_MEANING = """\
Read this with care: models of a few million parameters, a few dozen examples, {tests} test instances a task and one seed.
Differences of a few points are noise at this size, so most verdicts are "undecided"; a study that decides has more of
each (`xeric study plan paper` says how much)."""
_NEXT = """\
Next:
  open {page}
  xeric tasks import my.csv --name my_task --definition "..." --language Hindi -o tasks
  xeric train my_task --tasks-dir tasks --base FOLDER_OR_HUB_ID --method lora -o out
  xeric study run paper --set "tasks=[my_task]" --set "sources=[]" --set "bases=[FOLDER_OR_HUB_ID]" --tasks-dir tasks"""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the study and its report.")] = Path("demo-report"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting of the study by dotted path.")] = None,
) -> int:
    """The paper's study, small, on bundled tasks and bases, with its report."""
    from xeric.cli.study_progress import TerminalStudyProgress

    quiet_libraries()
    from xeric.bases.bundled import PREFIX as BUNDLED
    from xeric.bases.bundled import bundled_bases
    from xeric.report import write_report
    from xeric.studies.execute import run_study
    from xeric.studies.plan import load_study

    chosen = list(overrides or [])
    wanted = {name for name in load_study(_STUDY, chosen)[0].bases.values() if name.startswith(BUNDLED)}
    if wanted - set(bundled_bases()):
        typer.echo(_RANDOM)
        chosen = [f"bases={json.dumps(_random_bases(output.with_name(f'{output.name}-random-bases')))}", *chosen]
    study, remarks = load_study(_STUDY, chosen)
    with TerminalStudyProgress() as progress:
        for remark in remarks:
            progress.note(remark)
        done = run_study(study, output, progress=progress, workers=worker_count())
    written = write_report(output)
    _show(written)
    typer.echo(_MEANING.format(tests=study.run.get("data", {}).get("max_test", "all")))
    typer.echo(_NEXT.format(page=written.files[0]))
    return 1 if done.cells("failed", "diverged") else 0


def _random_bases(folder: Path) -> list[str]:
    """Write the two random bases unless they are there, each with a tokenizer made of the bundled tasks."""
    from xeric.data.catalog import Catalog
    from xeric.studies.plan import load_study

    texts: list[str] = []
    for name in load_study(_STUDY)[0].tasks:
        texts += [text for i in Catalog.of().load(name).instances for text in (i.input, *i.outputs)]
    places = [folder / "first", folder / "second"]
    for seed, place in enumerate(places):
        if not (place / "model.safetensors").is_file():
            write_random_base(place, texts, seed=seed)
    return [str(place) for place in places]


def _show(written: Written) -> None:
    from xeric.cli.show import show_sheet
    from xeric.report.tables import sheet

    results = written.results
    for table in results.tables:
        typer.echo("")
        show_sheet(sheet(table, results))
    for claim in results.claims:
        typer.echo(f"{claim.verdict:13}  {' '.join(claim.sentence.split())}")
    typer.echo("")


def write_random_base(folder: Path, texts: list[str], *, vocabulary: int = 1024, seed: int = 0) -> None:
    """Write a small Llama with random weights and a byte-level tokenizer made of ``texts``, in the Hugging Face layout."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(texts, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
