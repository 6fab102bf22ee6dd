"""Models by name: found in their package, converted once, and held to their checksums."""

import hashlib

import pytest
from gguf_files import model

from banel_jax import files
from banel_jax.commands import priors
from banel_jax.commands.settings import What
from banel_jax.models.language import gguf, huggingface, named_models
from banel_jax.models.language.named_models import SUMS, Packaged, folder, is_name


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A package with a GGUF file, and a cache of this test's own."""
    package = tmp_path / "site" / f"holds_{tmp_path.name}".replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import what_is_not_installed")  # is never imported
    path, _ = model(package / "it.gguf", "llama")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    named = {"tiny": Packaged(package.name, "it.gguf", sha256, "pip install it")}
    monkeypatch.setattr(named_models, "NAMED", named)
    monkeypatch.chdir(tmp_path)
    named_models._cached.cache_clear()
    yield path
    named_models._cached.cache_clear()


@pytest.fixture
def conversions(monkeypatch):
    """How many there were, which a test adds to."""
    made, real = [], gguf.convert

    def convert(source, place):
        made.append(place)
        real(source, place)

    monkeypatch.setattr(gguf, "convert", convert)
    return made


def anew():
    """As another process would."""
    named_models._cached.cache_clear()
    return folder("tiny")


def test_it_is_converted_once_into_the_users_cache(tiny, conversions, tmp_path):
    place = folder("tiny")
    assert place.parent == tmp_path / "cache" / "banel_jax" / "models"
    config, _ = huggingface.load(place)
    assert config.num_layers == 2
    assert anew() == place == folder("tiny") and len(conversions) == 1
    tiny.unlink()  # nor is the package needed any more
    assert anew() == place and len(conversions) == 1


@pytest.mark.parametrize("harm", ["cut", "gone", "unfinished", "sums"])
def test_what_is_damaged_in_the_cache_is_converted_anew(tiny, conversions, harm):
    place = folder("tiny")
    weights = place / "model.safetensors"
    whole = weights.read_bytes()
    if harm == "cut":
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif harm == "gone":
        weights.unlink()
    elif harm == "unfinished":  # killed between the conversion and its sums
        (place / SUMS).unlink()
    else:
        (place / SUMS).write_text('{"config.json"')
    assert anew() == place and len(conversions) == 2 and weights.read_bytes() == whole
    assert anew() == place and len(conversions) == 2


def test_a_conversion_that_was_stopped_is_begun_again(tiny, monkeypatch):
    real = gguf.weight_files.write
    monkeypatch.setattr(
        gguf.weight_files, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        folder("tiny")
    monkeypatch.setattr(gguf.weight_files, "write", real)
    assert huggingface.load(anew())[0].num_layers == 2


def test_a_package_that_is_missing_or_has_another_file_is_one_line(tiny, monkeypatch):
    tiny.write_bytes(tiny.read_bytes() + b"x")
    with pytest.raises(
        ValueError, match=r"it\.gguf is not the file that tiny names.*--force-reins"
    ):
        anew()
    tiny.unlink()
    with pytest.raises(
        ValueError, match=r"^tiny is in a package that is not installed; pip install it$"
    ):
        anew()
    lost = {"tiny": named_models.NAMED["tiny"]._replace(package="no_such_package")}
    monkeypatch.setattr(named_models, "NAMED", lost)
    with pytest.raises(
        ValueError, match=r"^tiny is in a package that is not installed; pip install it$"
    ):
        anew()


def test_a_cache_that_cannot_be_written_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cache \(XDG_CACHE_HOME\) .*file/banel_jax"):
        anew()


def test_a_folder_goes_before_a_name(tiny, tmp_path):
    assert is_name("tiny") and not is_name("other")
    assert folder("~/x") == files.expand("~/x")
    (tmp_path / "tiny").mkdir()
    assert not is_name("tiny") and str(folder("tiny")) == "tiny"


def test_a_run_by_command_takes_a_name(tiny):
    with pytest.raises(ValueError, match="--prior=tiny is a language model; give it a --prompt"):
        priors.prior(What(prior="tiny"))
    with pytest.raises(FileNotFoundError, match=r"tiny-.* has no tokenizer\.json"):
        priors.prior(What(prior="tiny", prompt="a"))
    with pytest.raises(ValueError, match="none of the models tiny"):
        priors.prior(What(prior="tinny"))
