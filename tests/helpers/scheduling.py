"""Which tests a worker is given together, and which come first."""

from pathlib import Path

# Seconds of processor time of the longest, where nothing is compiled yet; the others take less.
LONGEST = {
    "test_mnist_experiment": 65,
    "test_enumeration": 65,
    "test_gsm8k": 60,
    "test_banel": 55,
    "test_addition_experiment": 45,
    "test_training": 40,
    "test_jax_settings": 40,
    "test_lora": 35,
    "test_sampling": 30,
    "test_addition": 30,
    "test_two_circles": 30,
    "test_loop": 30,
    "test_border": 30,
    "test_fault_campaign": 25,
    "test_ehrlich": 20,
    "test_ehrlich_experiment": 20,
    "test_kill_resume": 20,
}
# What is short and shares nothing fills the workers' last moments.
LAST = {"test_documents": -1, "test_notebooks": -1, "test_contract": -2}


def group(name: str) -> str:
    """The group of a test by its name (`node id`): a file's tests share what they compiled.

    Those of GSM8K share a model, the contract's are many and share by algorithm, and no document
    shares anything.
    """
    path, _, test = name.partition("::")
    file = Path(path).stem
    if file.startswith("test_gsm8k"):
        return "test_gsm8k"
    if file == "test_contract":
        return f"{file} {test.partition('[')[2].rpartition('-')[2]}"
    return name if file in LAST else file


def weight(name: str) -> int:
    """Groups of a higher weight come first, so that all workers end together."""
    file = Path(name.partition("::")[0]).stem
    return LAST.get(file) or LONGEST.get(group(name), 0)


def by_group(config, log):
    """xdist's scheduler, which gives a worker a group at a time as they were collected."""
    from xdist.scheduler import LoadScopeScheduling  # not everywhere where a test is run

    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group
    return scheduler
