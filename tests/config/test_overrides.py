"""Every override that cannot be used is refused in one line that names the remedy."""

import pytest

from lora_agnews.errors import UserError
from tests.commands import compose_line
from tests.messages import check_message

# A command line as one types it, and what its message must contain.
BAD_OVERRIDES: list[tuple[str, list[str]]] = [
    # typos of keys
    ("lora.rr=1", ["lora.rr=1", "no key lora.rr", "did you mean lora.r?", "--help"]),
    ("model.lora.rr=1", ["no key model.lora.rr", "did you mean model.lora.r?"]),
    ("model.lora.R=1", ["no key model.lora.R", "did you mean model.lora.r?"]),
    ("optm.lr=1e-3", ["no key optm.lr", "did you mean optim.lr?"]),
    ("lr=1e-3", ["no key lr", "did you mean optim.lr?"]),
    ("optim.learning_rate=1e-3", ["no key optim.learning_rate", "did you mean optim.lr?"]),
    ("trainer.epochs=3", ["no key trainer.epochs", "did you mean trainer.max_epochs?"]),
    ("data.batchsize=8", ["no key data.batchsize", "did you mean data.batch_size?"]),
    ("data.nme=me/news", ["no key data.nme", "did you mean data.name?"]),
    ("data.revison=v1", ["no key data.revison", "did you mean data.revision?"]),
    ("data.text_colum=x", ["no key data.text_colum", "did you mean data.text_column?"]),
    ("data.label_colum=x", ["no key data.label_colum", "did you mean data.label_column?"]),
    ("experimnt=lean", ["no key experimnt", "did you mean experiment?"]),
    ("unknown=1", ["no key unknown", "python train.py --help"]),
    # adding and removing
    ("+unknown=1", ["+unknown=1", "no key unknown"]),
    ("++unknown=1", ["++unknown=1", "no key unknown"]),
    ("+lora.r=2", ["+lora.r=2", "lora.r=VALUE", "at least 1 and at most 1,024"]),
    ("+experiment=lean", ["experiment=VALUE", "lean"]),
    ("~lora.r", ["~lora.r", "lora.r=VALUE", "whole number"]),
    ("~model", ["~model", "model=VALUE", "roberta_base"]),
    ("~unknown", ["no key unknown"]),
    ("~lora", ["lora is a section", "lora.r"]),
    # a key of the sweep
    ("-m test=winner,all", ["test=winner,all", "holds for the whole sweep"]),
    ("test=best", ["test=best", "winner, tied, all, none"]),
    # a section given a value
    ("lora=1", ["lora=1", "lora is a section", "lora.alpha, lora.bias, lora.dropout"]),
    ("model.lora=null", ["model.lora is a section", "model.lora.r"]),
    ("optim={lr:1}", ["optim is a section", "optim.lr"]),
    ("trainer=gpu", ["trainer is a section", "trainer.accelerator"]),
    # groups
    ("model=robrta_base", ["model=robrta_base", "did you mean roberta_base?", "distilroberta", "tiny"]),
    ("data=news", ["data=news", "files, hub, sample"]),
    ("experiment=lena", ["experiment=lena", "did you mean lean?", "quickstart"]),
    ("debug=fats", ["debug=fats", "did you mean fast?", "overfit, profile"]),
    ("debg=fast", ["no key debg", "did you mean debug?"]),
    ("debug=profile trainer.extra={detect_anomaly:true}", ["trainer.extra", "debug=profile", "detect_anomaly"]),
    ("experiment=null", ["experiment=null", "must be one of", "quickstart"]),
    ("model=", ["model=''", "must be one of", "roberta_base"]),
    ("model=[tiny]", ["model=[tiny]", "must be one of", "roberta_base"]),
    ("model@here=tiny", ["no key model@here"]),
    ("-m model=tiny,large", ["model=large", "must be one of", "roberta_large"]),
    # wrong types
    ("lora.r=x", ["model.lora.r=x", "a whole number at least 1 and at most 1,024", "rank"]),
    ("lora.r=1.5", ["model.lora.r=1.5", "whole number"]),
    ("lora.r=true", ["model.lora.r=true", "whole number"]),
    ("lora.r=[1]", ["model.lora.r=[1]", "whole number"]),
    ("model.lora.r={a:1}", ["model.lora.r={a:1}", "whole number"]),
    ("seed=1.0", ["seed=1.0", "whole number"]),
    ("budget.max_trainable=1e5", ["budget.max_trainable=1e5", "whole number", "1,000,000"]),
    ("trainer.deterministic=maybe", ["trainer.deterministic=maybe", "true or false"]),
    ("lora.target_modules=5", ["model.lora.target_modules=5", "a list such as [query,value]", "all-linear"]),
    ("lora.target_modules=null", ["model.lora.target_modules=null", "[] for none"]),
    ("lora.target_modules={query:0}", ["model.lora.target_modules={query:0}", "in quotes ranks"]),
    ("lora.target_modules={}", ["model.lora.target_modules={}", "in quotes ranks"]),
    ("lora.layers=last", ["model.lora.layers=last", "all, a list", "-4:"]),
    ("lora.layers=4", ["model.lora.layers=4", "all, a list"]),
    ("lora.layers=[]", ["model.lora.layers=[]", "all, a list"]),
    ("lora.layers=null", ["model.lora.layers=null", "all, a list"]),
    ("lora.bias=some", ["model.lora.bias=some", "none, all, lora_only"]),
    ("lora.init=svd", ["model.lora.init=svd", "default, gaussian, pissa, olora, orthogonal"]),
    ("optim.lora_plus_ratio=0.5", ["optim.lora_plus_ratio=0.5", "at least 1"]),
    ("lora.target_modules=[1]", ["model.lora.target_modules=[1]", "a list"]),
    ("logger.tags=x", ["logger.tags=x", "a list"]),
    ("logger.tags=[a,null]", ["logger.tags=[a,null]", "a list"]),
    # out of range
    ("lora.r=0", ["model.lora.r=0", "at least 1"]),
    ("lora.dropout=1", ["model.lora.dropout=1", "at least 0 and below 1"]),
    ("optim.lr=0", ["optim.lr=0", "above 0 and at most 10"]),
    ("optim.lr=nan", ["optim.lr=nan", "above 0"]),
    ("optim.lr=inf", ["optim.lr=inf", "at most 10"]),
    ("seed=-1", ["seed=-1", "at least 0"]),
    ("seed=4294967296", ["seed=4294967296", "at most 4,294,967,295"]),
    ("data.val_fraction=1", ["data.val_fraction=1", "below 1"]),
    ("data.max_length=3", ["data.max_length=3", "at least 4"]),
    ("trainer.max_steps=0", ["trainer.max_steps=0", "at least 1 or null"]),
    ("budget.max_trainable=2000000", ["budget.max_trainable=2000000", "at most 1,000,000"]),
    # null and empty
    ("lora.r=null", ["model.lora.r=null", "whole number"]),
    ("optim.lr=null", ["optim.lr=null", "a number above 0"]),
    ("model.name=null", ["model.name=null", "non-empty string"]),
    ("model.name=", ["model.name=''", "non-empty string"]),
    ("data.train_file=", ["data.train_file=''", "non-empty string or null"]),
    ("data.name=null", ["data.name=null", "non-empty string"]),
    ("data.name=", ["data.name=''", "non-empty string", "save_to_disk"]),
    ("data.name=[a]", ["data.name=[a]", "non-empty string"]),
    ("data.revision=", ["data.revision=''", "non-empty string or null"]),
    ("data.text_column=", ["data.text_column=''", "non-empty string or null"]),
    ("data.label_column=", ["data.label_column=''", "non-empty string or null"]),
    # rows from two places, and keys of another place
    ("data.name=me/news data.train_file=x.csv", ["data.name=me/news and data.train_file=x.csv", "give one"]),
    ("data.revision=v1 data.train_file=x.csv", ["data.revision=v1: data.source=files has no revisions"]),
    ("experiment=quickstart data.revision=v1", ["data.revision=v1: data.source=sample has no revisions"]),
    ("experiment=quickstart data.text_column=x", ["data.text_column=x", "shipped rows"]),
    ("experiment=quickstart data.label_column=x", ["data.label_column=x", "shipped rows"]),
    ("data.text_column=label", ["label can't have both texts and labels", "data.label_column"]),
    ("data.label_column=a data.text_column=a", ["a can't have both texts and labels"]),
    ("\"lora.target_modules=['']\"", ["model.lora.target_modules", "a list"]),
    # choices
    ("model.head=dense", ["model.head=dense", "full, lora, out_proj"]),
    ("optim.name=sgd", ["optim.name=sgd", "adam, adamw"]),
    ("optim.schedule=step", ["optim.schedule=step", "constant, linear, cosine"]),
    ("trainer.precision=16", ["trainer.precision=16", "16-mixed, bf16-mixed, 32-true"]),
    ("optim.class_weights=[1,2]", ["optim.class_weights=[1,2]", "four numbers above 0"]),
    ("optim.class_weights=[1,2,3,0]", ["optim.class_weights", "four numbers above 0"]),
    ("optim.class_weights=even", ["optim.class_weights=even", "balanced"]),
    ("data.train_rows=3", ["data.train_rows=3", "at least 4"]),
    ("data.split_seed=-1", ["data.split_seed=-1", "at least 0"]),
    ("trainer.matmul_precision=low", ["trainer.matmul_precision=low", "highest, high, medium"]),
    ("logger.wandb=on", ["logger.wandb=on", "auto, online, offline, disabled"]),
    # at odds with one another
    ("lora.r=1 model.lora.r=2", ["lora.r=1", "model.lora.r=2", "two spellings of one key"]),
    ("-m lora.r=1,2 model.lora.r=1,2", ["two spellings of one key"]),
    ("data=files", ["data.train_file=null", "data.train_file=FILE"]),
    ("data.test_file=test.csv", ["data.train_file=null", "data.test_file need it"]),
    # sweeps
    ("lora.r=1,2,x", ["lora.r=1,2,x", "-m"]),
    ("-m lora.r=1,2,x", ["model.lora.r=x", "whole number"]),
    ("-m lora.r=1,2 optim.lr=1e-3,2e-3,-1", ["optim.lr=-1", "above 0"]),
    ("-m lora.r=range(0,3)", ["model.lora.r=0", "at least 1"]),
    ("-m lora.r=range(3,1)", ["lora.r=range(3,1)", "no value"]),
    ("-m model=glob(z*)", ["model=glob(z*)", "no value"]),
    # spelling of an override
    ("lora.r", ["lora.r: there is no value", "lora.r=VALUE"]),
    ("=1", ["=1", "KEY=VALUE"]),
    ("'lora.r =1'", ["'lora.r '", "no blank"]),
    ("lora.r=[1", ["lora.r=[1", "brackets and quotes come in pairs"]),
    ('"lora.r=\'1"', ["lora.r='1", "brackets and quotes come in pairs"]),
    ("lora.target_modules=[query,]", ["[query,]", "a list is [a,b]"]),
    ("data.train_file=a=b.csv", ["'data.train_file=\"a=b.csv\"'"]),
    ("data.train_file=a,b.csv", ["-m", "'data.train_file=\"a,b.csv\"'"]),
    # interpolation, and Hydra's own keys
    ("lora.r=${nothing}", ["model.lora.r", "'nothing' not found"]),
    ("lora.r=${lora.r}", ["model.lora.r", "Recursive"]),
    ("hydra.run.dirr=x", ["hydra.run.dirr", "did you mean dir?"]),
    ("hydra.foo=1", ["hydra.foo", "'foo' not in 'HydraConf'"]),
    ("hydra.job.num=x", ["hydra.job.num=x", "Integer"]),
    ("hydra=null", ["hydra=null", "hydra is a section"]),
    ("hydra.sweeper.max_batch_size=0", ["belongs to a plugin; select it too: hydra/sweeper=NAME"]),
    ("-m hydra.sweep.dir=a,b", ["hydra.sweep.dir=a,b: needs one value", "'hydra.sweep.dir=\"a,b\"'"]),
    ("hydra.verbose=[1]", ["hydra.verbose=[1]: must be true, false, or the names of loggers"]),
    ("hydra.verbose=null", ["hydra.verbose=null: must be"]),
    ("hydra.verbose={a:1}", ["hydra.verbose={a:1}: must be"]),
    ("hydra.job.env_copy=[1]", ["hydra.job.env_copy=[1]: must be a list of environment variables that are set"]),
    ("hydra.job.env_copy=HOME", ["hydra.job.env_copy=HOME: must be a list"]),
    ("hydra.job_logging.root.level=LOUD", ["hydra.job_logging.root.level=LOUD: must be a number or one of", "DEBUG"]),
    ("hydra.hydra_logging.root.level=[1]", ["hydra.hydra_logging.root.level=[1]: must be a number or one of"]),
    ("hydra.mode=WALK", ["hydra.mode=WALK", "RUN, MULTIRUN"]),
    ("hydra/launcher=slurm", ["hydra/launcher/slurm", "basic"]),
]


@pytest.mark.parametrize(("line", "fragments"), BAD_OVERRIDES, ids=[line for line, _ in BAD_OVERRIDES])
def test_a_bad_override_is_refused_in_one_line(line: str, fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        compose_line(line)
    check_message(str(caught.value), fragments)


@pytest.mark.parametrize("value", ["true", "lightning", "[lightning,peft]"])
def test_more_messages_can_be_asked_for(value: str) -> None:
    compose_line(f"hydra.verbose={value}")


@pytest.mark.parametrize("change", ["hydra.job_logging.root.level=DEBUG", "hydra.job_logging.root.level=10"])
def test_levels_of_hydras_loggers_can_be_set(change: str) -> None:
    compose_line(change)


def test_the_processes_that_lightning_starts_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    compose_line("hydra.run.dir=x hydra.job.name=train_ddp_process_1 hydra.output_subdir=null")
