"""Save, delete the sources, load in a new process: the same hybrid."""

import subprocess
import sys

import pytest
import torch
from families import tiny
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments, pipeline

from manticore_kit import ManticoreForCausalLM, Recipe, build, zoo
from manticore_kit.errors import ManticoreError

IDENTITY = {"kind": "linear", "init": "identity"}

pytestmark = pytest.mark.usefixtures("paths")

ROWS = [[0.3, 0.7], [0.6, 0.4]]
IDS = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(0))

IN_A_NEW_PROCESS = """
import sys, torch, manticore_kit.hybrid
from transformers import AutoModelForCausalLM
folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder)
ids = torch.load(folder + "/../ids.pt")
with torch.no_grad():
    torch.save(model(ids).logits, folder + "/../again.pt")
model.recipe.to_yaml(folder + "/../again.yaml")
"""


def hybrid_of(first: str, second: str, **options) -> ManticoreForCausalLM:
    models = [tiny(first), tiny(second, width=64, depth=3, seed=1)]
    return ManticoreForCausalLM.from_components(models, **{"mixture": ROWS, **options})


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


# Tied and untied heads, experts whose hub layout differs from the model's, recurrent state, and learned positions.
@pytest.mark.parametrize(("first", "second"), [("gpt_neo", "mamba"), ("mixtral", "gpt_neox"), ("gemma2", "jamba")])
@pytest.mark.parametrize("ends", ["own", "shared"])
def test_load_gives_bit_equal_logits_without_the_sources(first, second, ends, tmp_path):
    hybrid = hybrid_of(first, second, ends=ends)
    hybrid.save_pretrained(tmp_path / "hybrid")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hybrid")
    assert torch.equal(logits(again), logits(hybrid))
    assert again.recipe == hybrid.recipe
    assert torch.equal(again.mixture_weights, hybrid.mixture_weights)
    assert ties(again) == ties(hybrid)


def ties(model) -> set[frozenset[str]]:
    """Groups of parameter names that are one tensor."""
    groups: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(parameter.data_ptr(), set()).add(name)
    return {frozenset(g) for g in groups.values() if len(g) > 1}


# The new process goes the fast way.
@pytest.mark.parametrize("paths", ["fast"], indirect=True)
def test_load_in_a_new_process(tmp_path):
    hybrid = hybrid_of("gpt_neo", "mamba")
    hybrid.save_pretrained(tmp_path / "hybrid")
    torch.save(IDS, tmp_path / "ids.pt")
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "hybrid")], check=True, capture_output=True)
    assert torch.equal(torch.load(tmp_path / "again.pt"), logits(hybrid))
    assert (
        Recipe.from_yaml(tmp_path / "again.yaml") == hybrid.recipe == Recipe.from_yaml(tmp_path / "hybrid/recipe.yaml")
    )


def test_no_weight_is_stored_twice(tmp_path):
    hybrid = hybrid_of("gpt_neo", "gpt2")
    assert len(ties(hybrid)) == 2
    hybrid.save_pretrained(tmp_path / "hybrid")
    with safe_open(tmp_path / "hybrid" / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert sum(t.numel() for t in stored.values()) == hybrid.num_parameters()
    assert not any("lm_head" in name for name in stored)


def test_saving_in_shards_and_in_half_precision(tmp_path):
    hybrid = hybrid_of("gpt_neo", "gpt2").bfloat16()
    hybrid.save_pretrained(tmp_path / "hybrid", max_shard_size="100KB")
    assert len(list((tmp_path / "hybrid").glob("*.safetensors"))) > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hybrid")
    assert again.dtype == torch.bfloat16
    assert again.mixture.logits.dtype == torch.float32
    assert torch.equal(logits(again), logits(hybrid))


def test_a_full_disk_leaves_the_earlier_save_whole_and_nothing_new(tmp_path, small_disk):
    target = small_disk / "hybrid"
    first = hybrid_of("gpt_neo", "mamba")
    first.save_pretrained(target)
    before = {f.name: f.read_bytes() for f in target.iterdir()}
    large = ManticoreForCausalLM.from_components([tiny("gpt2", width=256, depth=6), tiny("llama", width=256, depth=6)])
    for folder in (target, small_disk / "new"):
        with pytest.raises(ManticoreError, match=r"could not be saved .*No space left.* Nothing half-written"):
            large.save_pretrained(folder)
    assert {f.name: f.read_bytes() for f in target.iterdir()} == before
    assert [f.name for f in small_disk.iterdir()] == ["hybrid"]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 4 MiB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ManticoreError, match=r"is a file\. Name a folder"):
        hybrid_of("gpt_neo", "mamba").save_pretrained(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "hybrid").mkdir()
    (tmp_path / "hybrid" / "trainer_state.json").write_text("{}")
    hybrid_of("gpt_neo", "mamba").save_pretrained(tmp_path / "hybrid")
    assert (tmp_path / "hybrid" / "trainer_state.json").read_text() == "{}"
    assert [f.name for f in tmp_path.iterdir()] == ["hybrid"]
    modes = {f.stat().st_mode & 0o777 for f in (tmp_path / "hybrid").iterdir()}
    assert len(modes) == 1


# ----------------------------------------------------------------------------------------- used like any other model


def test_trainer_trains_saves_and_keeps_the_simplex(tmp_path):
    hybrid = hybrid_of("gpt_neo", "mamba")
    before = hybrid.mixture_weights.clone()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        save_steps=3,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = [{"input_ids": row, "labels": row} for row in IDS.repeat(4, 1)]
    Trainer(hybrid, arguments, train_dataset=rows).train()
    assert not torch.equal(hybrid.mixture_weights, before)
    assert torch.allclose(hybrid.mixture_weights.sum(-1), torch.ones(2))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-3")
    assert torch.equal(logits(again), logits(hybrid.eval()))


def test_pipeline_generates_text(tmp_path):
    hybrid = hybrid_of("gpt_neo", "mamba")
    hybrid.tokenizer = letters()
    hybrid.save_pretrained(tmp_path / "hybrid")
    generate = pipeline("text-generation", model=str(tmp_path / "hybrid"))
    [result] = generate("abc", max_new_tokens=5, do_sample=False)
    assert len(result["generated_text"]) > len("abc")
    assert result["generated_text"].startswith("abc")


def letters() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"<end>": 0, **{chr(97 + i): i + 1 for i in range(26)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def test_a_loaded_hybrid_has_its_tokenizer(tmp_path):
    hybrid = build(Recipe.parse({"components": [{"model": name} for name in zoo.names()[:2]], "projector": IDENTITY}))
    hybrid.save_pretrained(tmp_path / "hybrid")
    for kind in (ManticoreForCausalLM, AutoModelForCausalLM):
        tokenizer = kind.from_pretrained(tmp_path / "hybrid").tokenizer
        assert tokenizer.get_vocab() == hybrid.tokenizer.get_vocab()
    hybrid_of("gpt_neo", "mamba").save_pretrained(tmp_path / "without")
    assert ManticoreForCausalLM.from_pretrained(tmp_path / "without").tokenizer is None


def test_what_is_no_saved_hybrid_is_named(tmp_path):
    tiny("gpt2").save_pretrained(tmp_path / "gpt2")
    for source, says in {
        zoo.names()[0]: "a model of the zoo.*from_components",
        tmp_path / "gpt2": "of type 'gpt2', not a saved hybrid.*from_components",
        "./nope": r"'./nope' does not exist.*manticore build",
    }.items():
        with pytest.raises(ManticoreError, match=says):
            ManticoreForCausalLM.from_pretrained(source)


def test_saving_over_another_hybrid_leaves_nothing_of_it(tmp_path):
    folder = tmp_path / "hybrid"
    first = build(Recipe.parse({"components": [{"model": name} for name in zoo.names()[:2]], "projector": IDENTITY}))
    first.save_pretrained(folder, max_shard_size="1MB")
    (folder / "notes.txt").write_text("mine")
    hybrid_of("gpt_neo", "mamba").save_pretrained(folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "notes.txt",
        "recipe.yaml",
    ]
