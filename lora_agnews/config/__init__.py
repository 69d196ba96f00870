"""From YAML and overrides to one typed configuration that is known to be valid.

Inputs: the files of conf/, the overrides of a command line, a run's config.yaml.
Outputs: `TrainConfig` and `StudyConfig`, or one UserError that names the key, the value and what is allowed.

Reading order: choices.py (names that a key may take), rules.py, validators.py and trainer_options.py (what a field
allows), sections.py (fields), start_adapter.py (model.adapter), schema.py and study.py (TrainConfig, StudyConfig),
identity.py (what identifies a run), keys.py (all keys), overrides.py and compose.py (overrides to TrainConfig),
points.py (the points of a sweep), directories.py (where they are written), resume.py (continuing a run),
command_line.py and hydra_job.py (for train.py), messages.py and help.py (texts).
"""
