"""Whatever is named as a model is loaded, or is refused in a sentence that says what is wrong and what to do."""

import http.server
import json
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from families import tiny
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, GPT2Model, T5Config, T5ForConditionalGeneration
from transformers.utils import logging
from vocabularies import words

from manticore_kit import ManticoreForCausalLM, Recipe, build
from manticore_kit.components import bars, describe, hub, load, load_tokenizer, loading
from manticore_kit.errors import ManticoreError

SMALL = {"n_embd": 32, "n_head": 2, "n_layer": 2, "vocab_size": 11, "n_positions": 16}
SMALL_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 97,
}
WEIGHT = "transformer.h.1.mlp.c_fc.weight"
IDS = torch.randint(3, 11, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with a small GPT-2."""
    folder = tmp_path_factory.mktemp("models") / "small-gpt2"
    tiny("gpt2").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "small-gpt2"))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache, used instead of the user's."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_network(cache, monkeypatch) -> None:
    """A hub that refuses every connection."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def put_into_cache(cache: Path, saved: Path, name: str) -> None:
    """Lays a model folder out as the hub's client does: blobs, and a snapshot of links to them."""
    repository, revision = cache / f"models--{name.replace('/', '--')}", "0" * 40
    for part in ("blobs", "refs", f"snapshots/{revision}"):
        (repository / part).mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    for file in saved.iterdir():
        shutil.copy(file, repository / "blobs" / file.name)
        (repository / "snapshots" / revision / file.name).symlink_to(Path("../../blobs") / file.name)


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def edit_weights(folder: Path, **changes) -> None:
    """Replaces weights in model.safetensors; None removes one."""
    weights = {**load_file(folder / "model.safetensors"), **changes}
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path, extra: dict | None = None, **options) -> Path:
    """Turns the folder's weights into a pytorch_model.bin."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, **(extra or {})}, folder / "pytorch_model.bin", **options)
    return folder / "pytorch_model.bin"


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


def assert_same(loaded, saved) -> None:
    """The weights bit for bit; the logits nearly so, since some processors add in another order where weights that are
    read from a file lie on other addresses."""
    weights = loaded.state_dict()
    for name, weight in saved.state_dict().items():
        assert torch.equal(weights[name], weight), name
    torch.testing.assert_close(logits(loaded), logits(saved), rtol=0, atol=1e-6)


def bars_at_once(monkeypatch) -> None:
    for module in (bars, loading):
        monkeypatch.setattr(module, "BAR_AFTER_SECONDS", 0)


# --------------------------------------------------------------------------------------------------------- what loads


def test_a_folder_gives_the_model_that_was_saved(folder):
    saved = tiny("gpt2")
    for source in (folder, str(folder)):
        loaded = load(source)
        assert_same(loaded.component.model, saved)
        assert loaded.tokenizer is None
    as_pickle(folder)
    assert_same(load(folder).component.model, saved)


def test_a_folder_in_the_home_directory(saved, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    assert load(f"~/{saved.name}").component.stack.depth == 4


def test_a_folder_in_shards(folder):
    (folder / "model.safetensors").unlink()
    tiny("gpt2").save_pretrained(folder, max_shard_size="20KB")
    assert torch.equal(logits(load(folder).component.model), logits(tiny("gpt2")))
    sorted(folder.glob("*.safetensors"))[1].unlink()
    with pytest.raises(ManticoreError, match=r"cannot be read \(No such file.*model-00002-of"):
        load(folder)


def test_a_loaded_model_is_taken_as_it_is():
    model = tiny("gpt2").train()
    loaded = load(model)
    assert loaded.component.model is model
    assert model.training
    assert load(loaded) is loaded
    assert load(loaded.component).component is loaded.component


def test_an_architecture_with_settings_is_drawn_with_the_seed():
    models = [load("gpt2", config=SMALL, seed=seed).component.model for seed in (0, 0, 1)]
    assert torch.equal(logits(models[0]), logits(models[1]))
    assert not torch.equal(logits(models[0]), logits(models[2]))
    assert load("GPT2LMHeadModel", config=SMALL).component.model.config.model_type == "gpt2"
    state = torch.get_rng_state()
    load("gpt2", config=SMALL)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_cache_of_the_hub_serves_without_a_network(saved, cache, no_network, monkeypatch):
    put_into_cache(cache, saved, "someone/small-gpt2")
    assert hub.cached_models() == ["someone/small-gpt2"]
    loaded = load("someone/small-gpt2")
    assert loaded.component.name == "someone/small-gpt2"
    assert torch.equal(logits(loaded.component.model), logits(tiny("gpt2")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(logits(load("someone/small-gpt2").component.model), logits(tiny("gpt2")))
    with pytest.raises(ManticoreError, match=r"Did you mean 'someone/small-gpt2'.* machine: .*someone/small-gpt2"):
        load("someone/smal-gpt2")


def test_the_precision_is_the_checkpoints(tmp_path):
    tiny("gpt2").bfloat16().save_pretrained(tmp_path / "half")
    assert load(tmp_path / "half").component.model.dtype == torch.bfloat16


@pytest.mark.parametrize("size", ["20KB", "1GB"])
def test_a_bar_over_the_shards_names_the_model(size, tmp_path, capsys, monkeypatch):
    tiny("gpt2").save_pretrained(tmp_path / "small", max_shard_size=size)
    shards = len(list((tmp_path / "small").glob("*.safetensors")))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    load("./small")
    assert capsys.readouterr().err == "", "what is read at once shows none"
    bars_at_once(monkeypatch)
    load("./small")
    shown = capsys.readouterr().err
    expected = f"Reading ./small, shard {shards} of {shards}: 100%" if shards > 1 else "Reading ./small: 100%"
    assert expected in shown
    assert "Loading ./small: 100%" in shown
    assert "Loading weights" not in shown


def test_bars_that_were_switched_off_stay_off(folder, capsys, monkeypatch):
    bars_at_once(monkeypatch)
    logging.disable_progress_bar()
    try:
        load(folder)
    finally:
        logging.enable_progress_bar()
    assert capsys.readouterr().err == ""


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tiny-gptneo2", "tiny-gptneo"),
        ("tiny_mamba", "tiny-mamba"),
        ("Tiny-Pythia", "tiny-pythia"),
        ("gpt-neo", "gpt_neo"),
    ],
)
def test_near_names_are_suggested(name, near, no_network):
    with pytest.raises(ManticoreError, match=rf"No model '{name}'.* Did you mean .*'{near}'"):
        load(name)


def test_without_a_network_the_answer_is_quick_and_says_what_is_here(no_network):
    start = time.monotonic()
    with pytest.raises(ManticoreError, match=r"hub cannot be reached .* on this machine: tiny-gptneo, tiny-pythia"):
        load("EleutherAI/pythia-160m")
    assert time.monotonic() - start < 3


def test_offline_mode_is_named(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ManticoreError, match=r"HF_HUB_OFFLINE.* on this machine: tiny-gptneo"):
        load("EleutherAI/pythia-160m")


def test_a_hub_that_does_not_answer_is_not_waited_for(cache, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ManticoreError, match="hub cannot be reached"):
            load("EleutherAI/pythia-160m")
        assert time.monotonic() - start < 3


def test_an_address_that_is_looked_up_for_ever_is_not_waited_for(cache, monkeypatch):
    released = threading.Event()

    def slow(*_, **__):
        released.wait(20)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(ManticoreError, match=r"hub cannot be reached \(no answer in 0.3 s\)"):
        load("EleutherAI/pythia-160m")
    assert time.monotonic() - start < 3
    released.set()


def test_a_name_that_the_hub_does_not_know(cache, monkeypatch):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ManticoreError, match=r"the hub knows no such model, or it is private.*'tiny-gptneo'"):
            load("someone/tiny-gptneo")
        server.shutdown()


@pytest.mark.parametrize("name", ["no/such/model", "-rf", "a b", "<script>alert(1)</script>", "木", "tiny-mamba "])
def test_what_can_be_no_hub_id_is_not_asked_for(name, no_network):
    with pytest.raises(ManticoreError, match="no hub id is written like that"):
        load(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/no/such/folder", r"Model folder '/no/such/folder' does not exist\. Name the folder that holds config.json"),
        ("./none", r"Model folder './none' does not exist"),
        ("~/none", r"Model folder '~/none' does not exist"),
        ("~nobody-here/x", r"can be no model's name or folder: Could not determine home"),
        ("x" * 1000, r"can be no model's name or folder: File name too long\. Name tiny-gptneo"),
        ("gpt_neo", r"'gpt_neo' is an architecture, not a trained model\. Give `config:`.*tiny-gptneo"),
        ("GPTNeoForCausalLM", r"is an architecture, not a trained model"),
        ("", r"A model is named by a zoo name .*given is ''"),
        (" \n", r"given is ' \\n'"),
    ],
)
def test_names_that_are_no_model(name, says):
    for function in (load, describe, load_tokenizer):
        with pytest.raises(ManticoreError, match=says):
            function(name)


@pytest.mark.parametrize(
    "source", [None, 3, 2.5, b"gpt2", [], {}, np.zeros(2), torch.zeros(2), torch.nn.Linear(2, 2), GPT2Model, object()]
)
def test_things_that_are_no_model(source):
    with pytest.raises(ManticoreError, match=rf"hub id.*what was given is of type {type(source).__name__}"):
        load(source)


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_file_is_no_folder(folder):
    with pytest.raises(ManticoreError, match=r"model.safetensors' is a file\. Name the folder that holds config.json"):
        load(folder / "model.safetensors")


def test_a_folder_without_a_configuration(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ManticoreError, match=r"it holds no config.json\. A model folder holds config.json, the w"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "config.json cannot be read"),
        (b"\xff\xfe\x00", "config.json cannot be read"),
        (b"[" * 100_000, "config.json cannot be read"),
        (b"[]", "it holds a list where a mapping is wanted"),
        (b"{}", "names no `model_type`"),
        (b'{"model_type": "gptt2"}', "model type 'gptt2', which .* does not know. Near names: gpt2"),
        (b'{"model_type": ["gpt2"]}', r"model type \['gpt2'\], which .* does not know"),
        (b'{"model_type": "gpt2", "n_layer": "four"}', "n_layer.*expected int.*'four'"),
    ],
)
def test_configurations_that_say_nothing(content, says, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ManticoreError, match=says):
        load(folder)


def test_encoders_are_no_components(tmp_path):
    T5ForConditionalGeneration(
        T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=97)
    ).save_pretrained(tmp_path / "t5")
    with pytest.raises(ManticoreError, match=r"is a 't5' model, which has no causal language model.* decoders: GPT"):
        load(tmp_path / "t5")
    BertForMaskedLM(BertConfig(**SMALL_BERT)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ManticoreError, match=r"not a causal language model.*Encoder-only models such as BERT"):
        load(tmp_path / "bert")
    BertModel(BertConfig(**SMALL_BERT)).save_pretrained(tmp_path / "headless")
    with pytest.raises(ManticoreError, match=r"lacks weights .*saved as BertModel and read as BertLMHeadModel"):
        load(tmp_path / "headless")
    with pytest.raises(ManticoreError, match=r"not a causal language model.*Encoder-only models such as BERT"):
        load("bert", config=SMALL_BERT)
    load("bert", config={**SMALL_BERT, "is_decoder": True})


def test_hybrids_are_no_components(tmp_path):
    hybrid = ManticoreForCausalLM.from_components([tiny("gpt2"), tiny("mamba")])
    hybrid.save_pretrained(tmp_path / "hybrid")
    for source in (hybrid, tmp_path / "hybrid"):
        with pytest.raises(ManticoreError, match=r"is a hybrid already.* ManticoreForCausalLM\.from_pretrained"):
            load(source)


def test_models_without_a_head_or_without_weights():
    with pytest.raises(ManticoreError, match=r"is a GPT2Model, which has no language-model head"):
        load(GPT2Model(tiny("gpt2").config))
    with pytest.raises(ManticoreError, match=r"transformer\.wte\.weight has a shape and no values"):
        load(tiny("gpt2").to("meta"))


# ------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("part", [0, 9, 0.5])
def test_a_truncated_weights_file(part, folder):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(part * len(content)) if part < 1 else part])
    with pytest.raises(ManticoreError, match=r"gpt2': a weights file is damaged or cut short .*download it again"):
        load(folder)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.99])
def test_a_truncated_pickle(part, folder):
    file = as_pickle(folder)
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    with pytest.raises(ManticoreError, match=r"a weights file is damaged or cut short"):
        load(folder)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ManticoreError, match=r"cannot be read .*model\.safetensors.*A model folder holds"):
        load(folder)


def test_weights_of_another_shape(folder):
    edit_weights(folder, **{WEIGHT: torch.zeros(3, 5)})
    with pytest.raises(ManticoreError, match=rf"another shape .*1 in all.*{WEIGHT} is \(3, 5\) .* be \(32, 128\)"):
        load(folder)


def test_a_missing_weight(folder):
    edit_weights(folder, **{WEIGHT: None})
    with pytest.raises(ManticoreError, match=rf"lacks weights \(1 in all\), such as {WEIGHT}\. .*read as GPT2LMH"):
        load(folder)


def test_a_configuration_of_another_depth(folder):
    edit_config(folder, n_layer=6)
    with pytest.raises(ManticoreError, match=r"lacks weights \(24 in all\), such as transformer\.h\.4"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value, folder):
    weight = load_file(folder / "model.safetensors")[WEIGHT]
    weight[0, 0] = value
    edit_weights(folder, **{WEIGHT: weight})
    with pytest.raises(ManticoreError, match=rf"{WEIGHT} holds NaN or infinite values"):
        load(folder)


# ---------------------------------------------------------------------------------------------- nothing runs unasked


class Trap:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(zipped, folder, tmp_path):
    file = as_pickle(folder, {"trap": Trap(tmp_path / "ran")}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ManticoreError, match=r"a pickle that would run code.*refused.* Ask its author for safetensors"):
        load(folder)
    assert not (tmp_path / "ran").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists(), "the trap would have worked"


REMOTE_CODE = """
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel
Path({marker!r}).touch()

class OwnConfig(GPT2Config):
    model_type = "own-architecture"

class OwnModel(GPT2LMHeadModel):
    config_class = OwnConfig
"""


@pytest.fixture
def remote(folder, tmp_path, monkeypatch) -> Path:
    """A model folder that brings its own code, which makes the file `ran` when it is imported."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / "modeling_own.py").write_text(REMOTE_CODE.format(marker=str(tmp_path / "ran")))
    edit_config(
        folder,
        model_type="own-architecture",
        architectures=["OwnModel"],
        auto_map={"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"},
    )
    return folder


@pytest.mark.parametrize("trust", [False, None, "false", "yes", 1])
def test_remote_code_runs_only_when_asked_for(trust, remote, tmp_path):
    with pytest.raises(ManticoreError, match=r"needs Python code .*'own-architecture'.* `trust_remote_code: true`"):
        load(remote, trust_remote_code=trust)
    with pytest.raises(ManticoreError, match="trust_remote_code"):
        build(Recipe.parse({"components": [{"model": str(remote)}]}))
    assert not (tmp_path / "ran").exists()


def test_remote_code_that_was_asked_for_makes_a_component(remote, tmp_path):
    component = load(remote, trust_remote_code=True).component
    assert (tmp_path / "ran").exists()
    assert type(component.model).__name__ == "OwnModel"
    assert torch.equal(component.compose(IDS), logits(tiny("gpt2")))
    specs = [
        {"model": str(remote), "trust_remote_code": True},
        {"model": "gpt2", "config": {**SMALL, "vocab_size": 97}},
    ]
    recipe = {"components": specs, "projector": {"init": "identity"}, "mixture": [[1, 0], [1, 0]]}
    hybrid = build(Recipe.parse(recipe))
    assert torch.equal(logits(hybrid), logits(tiny("gpt2")))
    with pytest.raises(ManticoreError, match="runs Python code from its repository"):
        hybrid.save_pretrained(tmp_path / "hybrid")


def test_code_beside_a_known_architecture_stays_unused(remote, tmp_path):
    edit_config(remote, model_type="gpt2")
    assert torch.equal(logits(load(remote).component.model), logits(tiny("gpt2")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("setting", ["_attn_implementation", "attn_implementation", "_experts_implementation_internal"])
def test_a_configuration_cannot_fetch_code(setting, folder):
    edit_config(folder, **{setting: "someone/kernel"})
    with pytest.raises(ManticoreError, match=r"asks for 'someone/kernel', code that would be fetched.* Remove"):
        load(folder)


# ---------------------------------------------------------------------------------------------------------- tokenizers


def test_a_tokenizer_comes_with_its_model(folder):
    words(["?", "one", "two"]).save_pretrained(folder)
    tokenizer = load(folder).tokenizer
    assert tokenizer is not None
    assert tokenizer("two one three")["input_ids"] == [2, 1, 0]
    assert load_tokenizer(str(folder)).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "qwen2", "llama"])
def test_no_tokenizer_is_made_up(family, tmp_path):
    tiny(family).save_pretrained(tmp_path / family)
    assert load(tmp_path / family).tokenizer is None
    with pytest.raises(ManticoreError, match=rf"{family}' comes without a tokenizer\. Name a model or folder"):
        load_tokenizer(str(tmp_path / family))


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_tokenizer_is_not_passed_over(damage, folder):
    words(["?", "one", "two"]).save_pretrained(folder)
    if damage == "cut":
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text()[:200])
    else:
        (folder / "tokenizer.json").unlink()
    with pytest.raises(ManticoreError, match=r"its tokenizer cannot be read .*download its files again"):
        load(folder)


# ------------------------------------------------------------------------------------------------------ random weights


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("gpt2", {"n_embdd": 32}, r"GPT2Config has no setting 'n_embdd'; near names: n_embd"),
        ("gpt2", {3: 4}, r"has no setting '3'; near names: none, it has .*n_embd"),
        ("gpt2", {**SMALL, "n_layer": "two"}, r"cannot be built from .*'two'"),
        ("gpt2", {**SMALL, "n_head": 5}, r"cannot be built from .* divisible"),
        ("gpt2", {**SMALL, "n_layer": 0}, r"no list of decoder layers"),
        ("gpt2", {**SMALL, "n_positions": 1}, r"cannot be run on a few tokens: IndexError.* sizes"),
        ("gpt2", {**SMALL, "n_embd": 2**20}, r"random weights of .* GiB, but this machine has"),
        ("gpt2", [], r"`config` must map the architecture's settings to values, not \[\]"),
        ("gptt2", {}, r"must name an architecture .* near names: gpt2"),
        ("t5", {}, r"must name an architecture"),
        ("tiny-gptneo", {}, r"must name an architecture .* near names: .*gpt_neo"),
    ],
)
def test_settings_that_make_no_model(name, config, says):
    with pytest.raises(ManticoreError, match=says):
        load(name, config=config)


def test_a_loaded_model_takes_no_settings():
    with pytest.raises(ManticoreError, match="`config` describes random weights"):
        load(tiny("gpt2"), config=SMALL)


@pytest.mark.parametrize("seed", ["x", None, 2**70])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(ManticoreError, match="cannot be built"):
        load("gpt2", config=SMALL, seed=seed)
