"""A table of command lines that must be refused: every key with values of the wrong kind, and every command."""

from collections.abc import Iterator
from typing import Any

from lora_agnews.config.keys import ALIASES, GROUPS, RULES, STUDY_RULES

NUMBERS = (int, float, int | None)
SYNTAX = ["lora.r", "=1", "lora.r =1", "lora.r=[1", "lora.r='1", "lora.r={a", "lora.r=1,2", "lora.r=${x", "@=1", "[1]"]
FLAGS = ["--resum=x", "-x", "--config-name=foo", "--cfg=none", "--experiment", "--packag=x", "-m=1", "--config-nam=x"]
HYDRA = [
    "hydra=null", "hydra.verbose=[1]", "hydra.verbose=null", "hydra.verbose={a:1}", "hydra.job.env_copy=[1]",
    "hydra.job_logging.root.level=LOUD", "hydra.run.dir=",
    "hydra.mode=WALK", "hydra.run.dir=/dev/null", "hydra.run.dir=/dev/null/x", "hydra.run.dir=/proc/x",
    "hydra.run.dir=${x}", "~hydra.run", "hydra.run=1", "hydra.a=1", "hydra.job.num=x", "hydra.job.chdir=maybe",
    "hydra/launcher=slurm", "hydra/sweeper=none", "~hydra.verbose", "hydra.launcher._target_=os.system",
    "hydra.sweeper.max_batch_size=0", "hydra.run.dir=[1]", "hydra.run.dir=null",
    "hydra.sweeper.params={a:1}",
]  # fmt: skip
MULTIRUN = [
    "hydra.sweep.subdir=../../x", "hydra.sweep.subdir=/x", "hydra.sweep.subdir=", "hydra.sweep.subdir=.",
    "hydra.sweep.subdir=a/../..", "hydra.sweep.subdir=${x}", "hydra.sweep.dir=a,b", "hydra.sweep.dir=/dev/null/x",
    "lora.r=1,x", "lora.r=range(3,1)", "lora.r=range(0,2)", "lora.r=1,2 model.lora.r=1,2", "model=glob(z*)",
    "seed=0,-1", "resume=a,b", "hydra.sweep.dir=${x}", "lora.r=choice()", "seed=1,1.5", "lora.rr=1,2",
    "optim.lr=1e-3,0",
]  # fmt: skip
STUDIES = [
    "study=none", "study=", "seed=1", "seeds=0,1", "seeds=1", "resume=x", "hydra.run.dir=x", "+hydra.sweep.dir=x",
    "lora.r=1,2", "dir=/proc/x", "dir=/dev/null/x", "dir=", "overrides=[lora.rr=1]", "space=null", "space=1", "name=",
    "space={lora.rr:[1]}", "space={lora.r:[0]}", "space={lora.r:[]}", "space={lora.r:1}",
    "space={lora.r:{low:2,high:1}}", "space={lora.r:{low:1}}", "space={lora.r:{low:a,high:b}}", "sampler=tpe",
    "sampler=random", "lora.rr=1", "seeds=[a]", "seeds=[-1]", "trials=0", "workers=0",
    "minimize_parameters=true pruner=median", "storage=", "lora.r=", "space={lora.r:{low:0,high:4,log:true}}",
    "space={lora.r:{values:[1],when:x}}", "seeds=[1,1]", "seeds=[]",
]  # fmt: skip
COMMANDS = [
    "evaluate", "evaluate NOWHERE", "evaluate HERE", "evaluate RUN NOWHERE.csv", "evaluate RUN HERE",
    "evaluate RUN a b", "evaluate RUN --errors", "evaluate RUN --base /none/base", "evaluate RUN rows.docx",
    "evaluate RUN --jsn", "predict", "predict RUN", "predict NOWHERE rows.csv", "predict RUN NOWHERE.csv",
    "predict RUN HERE", "predict RUN pipe", "predict RUN /dev/null", "predict RUN rows.csv --text-column x",
    "predict RUN rows.csv -o none/out.csv", "predict RUN rows.csv -o rows.csv", "predict RUN rows.csv -o HERE",
    "predict RUN rows.csv -o RUN/config.yaml", "predict RUN rows.docx", "predict RUN RUN rows.csv --base /none/base",
    "predict RUN rows.csv --halff", "export RUN", "export NOWHERE -o out", "export RUN -o rows.csv",
    "export RUN -o out --format x", "export RUN -o RUN", "export RUN -o out --private",
    "export RUN -o out --base /none/base", "export RUN -o none/out/x --format", "compare", "compare NOWHERE",
    "compare HERE/rows.csv", "compare RUN --sort x", "compare RUN --sort", "compare EMPTY", "report",
    "report NOWHERE", "report EMPTY", "report RUN -o RUN/result.json", "report RUN -o rows.csv/page.html",
    "report RUN -o HERE", "budget lora.r=0", "budget lora.rr=1", "budget --pln", "budget model=none",
    "budget lora.r=1,x", "budget lora.r", "budget model.name=/none/model", "budget lora.target_modules=[quary]",
    "budget seed=x", "demo", "demo NOWHERE", "demo RUN --port 0", "demo RUN --port x",
    "demo RUN --port 70000", "nothing", "--versio",
]  # fmt: skip


def bad_values(kind: Any, metadata: Any) -> Iterator[str]:
    """Yield values, as they are typed, that a field of this type and these limits must refuse."""
    optional = "None" in str(kind) or (metadata["valid"] and metadata["valid"](None))
    if not optional:
        yield "null"
    if kind in NUMBERS:
        yield from ("x", "[1]", "{a:1}", "true" if kind is not float else "nan", "''")
        if kind is not float:
            yield "1.5"
        bounds = {"low": -1, "high": 1, "above": 0, "below": 0}
        yield from (str(metadata[name] + step) for name, step in bounds.items() if metadata[name] is not None)
    elif kind is bool:
        yield from ("maybe", "[true]", "{a:1}", "2.5", "''")
    elif kind in (str, str | None):
        yield from ("''", "[a]", "{a:1}", "' '")
        if metadata["choices"]:
            yield from ("nonsense", "5")
    elif str(kind).startswith("list"):
        yield from ("x", "5", "{a:1}", "[[a]]", "[null]")
    elif metadata["valid"]:  # target_modules, layers, class_weights and extra
        yield from ("5", "[null]", "''", "2.5", "[[a]]", "{a:x}")
        if not metadata["valid"]({}):  # no options of the Trainer are allowed
            yield "{}"


def bad_lines() -> Iterator[list[str]]:
    """Yield the arguments of train.py that must be refused."""
    for key, spec in RULES.items():
        if key != "resume":
            yield from ([f"{key}={value}"] for value in bad_values(spec.type, spec.metadata))
        yield from ([f"{key}x=1"], [f"+{key}=1"], [f"~{key}"])
    for key in ALIASES:
        yield from ([f"{key}={{a:x}}"], [f"{key}_=1"])
    for group in GROUPS:
        yield from ([f"{group}={value}"] for value in ("none", "null", "[a]", "5", ""))
    yield from ([line] for line in (*SYNTAX, *FLAGS, *HYDRA))
    yield from (["-m", *line.split()] for line in MULTIRUN)
    yield from ([f"resume={value}"] for value in ("NOWHERE", "[a]", "''", "EMPTY", "NOWHERE/checkpoints/last.ckpt"))


def bad_studies() -> Iterator[list[str]]:
    """Yield the arguments of sweep.py that must be refused."""
    for key in ("trials", "workers", "minimize_parameters", "sampler", "pruner"):
        spec = STUDY_RULES[key]
        yield from ([f"{key}={value}"] for value in bad_values(spec.type, spec.metadata))
    yield from (line.split() for line in STUDIES)
