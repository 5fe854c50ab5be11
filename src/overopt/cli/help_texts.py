"""The descriptions of the command line and its verbs, which explain by example."""

DESCRIPTION = """\
Train language models by preference optimization, and see when they over-optimize their reward.

  overopt demo                                     see it happen: nine small runs, a few minutes on a laptop
  overopt study maxent-failure-modes --quick       repeat the paper in miniature: every row once
  overopt train sft.yaml --lr 1e-3 --out runs/sft  train one stage from a YAML file
  overopt sweep sweep.yaml --out out/sweep         run grids, lists and seeds of runs with their parents, on all cores
  overopt watch out/sweep                          show a live table of runs, from their records
  overopt evaluate runs/kl --judge reward_model    judge the checkpoints of a finished run again
  overopt judge agreement pairs.json --judge hf    measure how well judges agree with humans and with each other
  overopt log runs/kl --sink tensorboard           send a run's records to TensorBoard, Trackio or W&B
  overopt report runs                              write one page: verdicts, figures, samples
  overopt best-of-n scored.jsonl                   measure what choosing the best of n by a proxy gains
  overopt convert OWNER/NAME models/name           write a model's pickled weights as safetensors
  overopt merge runs/online models/merged          write a model trained by LoRA as a whole one
  overopt push runs/kl OWNER/NAME                  put a run's model on the Hub, with a card
  overopt plan kl.yaml                             estimate hours and memory of a run before it starts
  overopt show sft.yaml --samples 3                see records as tokens, and where the loss falls
  overopt claims out/study                         test the paper's claims C1 to C44 on the runs of a study
  overopt power --difference 0.1 --sd 0.05         how many seeds and prompts it takes to tell two runs apart
  overopt theory                                   check the derivation from maximum-entropy RL to SimPO
  overopt objectives simpo                         show an objective: formula, fields, source, names in other libraries

`overopt VERB --help` explains a verb by examples.
"""

DEMO = """\
Run the miniature study on all cores: SFT, preference pairs, a reward model, then seven policies with and without a
regularizer. Prints a table with one verdict per run, and writes run directories to DIR/runs/NAME, DIR/summary.json,
DIR/figure.svg and .png, and DIR/report.html, a page with all figures and samples.
After an interruption, give the same command again: finished runs are kept and unfinished ones continue.

  overopt demo
  overopt demo --seed 3 --scale xs --out /tmp/demo
"""

STUDY = """\
Run a study that comes with overopt, on all its seeds; without a name, list the studies. maxent-failure-modes repeats
every run behind the figures and claims of "Failure Modes of Maximum Entropy RLHF" with three small transformers, on
five seeds. Writes run directories to DIR/runs/NAME and DIR/members.json, which says which run is which.
After an interruption, give the same command again. --only takes rows or runs, with * for any text; their parents are
run, too. Another call may add seeds or rows to the folder; its seeds are judged together. NAME may be a YAML of yours.
With --quick most claims have too few settings to be tested. If the YAML names a `judge`, it judges every checkpoint at
the end, and DIR/report.html is written.

  overopt study
  overopt study maxent-failure-modes --quick                 every row once with the smallest model, to see all figures
  overopt study maxent-failure-modes --seeds 110..114
  overopt study maxent-failure-modes --only "KL-*,ME-1B-*" --out out/part
  overopt study maxent-failure-modes --scale-set pythia      the paper's models; see docs/pythia.md first
"""

TRAIN = """\
Train one stage from a YAML file whose first key is `stage: sft | reward_model | online | offline`.
Every field of the YAML is also a flag, by its dotted address; the value is read as YAML.
If RUN_DIR holds a finished run of the same settings, nothing is done; an unfinished run continues from its last saved
state and ends with the numbers of a run that was never interrupted. Ctrl-C saves after the current step; a second
Ctrl-C stops at once.

  overopt train sft.yaml --out runs/sft
  overopt train online.yaml --lr 1e-5 --regularizers.0.coef 0.05 --out runs/kl
  overopt train offline.yaml --loss simpo --loss.gamma 1.0 --out runs/simpo
"""

SWEEP = """\
Run all runs of a YAML file: its `runs` and their parents, for every combination of `grid`, every setting of `lists` and
all `seeds`. A parent is trained once for all its children. Prints a table with one verdict per run, and writes run
directories DIR/runs/NAME, named after what varies (kl-coef=0.2-seed=1), DIR/summary.json, DIR/figure.svg and .png, and
DIR/report.html.
Give the same command again after an interruption or after adding values to FILE: finished runs are kept.
A failed run stops only the runs that descend from it; `retries: N` in FILE repeats runs that crashed. A `judge` in FILE
judges every checkpoint at the end.
Exit code 2 if a run failed because of its input, 1 if because of a bug in overopt.

  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength
  overopt sweep examples/sweeps/kl_strength.yaml --out out/kl_strength --only 'kl-*-seed=0' --workers 1
  overopt sweep sweep.yaml --out /nfs/out --ray auto       on a Ray cluster; docs/cluster.md says more
"""

WATCH = """\
Show the state of runs, read from their records: status, step, time left, last evaluation, and a small curve of the win
rate, or else of the proxy or the loss. RUNS are run directories or folders that contain some, also on a shared disk.
A run is marked `stalled` if its status is running but it has written nothing for much longer than its steps take.
Ctrl-C quits. If the output is not a terminal, plain text is printed.

  overopt watch out/demo
  overopt watch out/a out/b --every 30
  overopt watch out/demo --once | grep stalled
"""

EVALUATE = """\
Judge the greedy completions of runs again, checkpoint by checkpoint, and add the results to their records: win rates
with intervals, the paired difference to step 0 by the same judge, by length, and what the judge's order bias is.
Completions that a run recorded need no model; others are written by its kept checkpoints. JUDGE is a name, YAML such as
'{name: openai, model: gpt-4o-mini}', a file of it, or your own class. A table has one judge. docs/judges.md says more.
After an interruption, give the same command again: no answer of a language model is asked for twice.

  overopt evaluate runs/kl
  overopt evaluate out/demo/runs --judge reward_model --checkpoints last
  overopt evaluate runs/kl runs/none --judge judge.yaml --against runs/dpo
  overopt evaluate runs/kl --judge my_judge.py:Longest --max-completion-tokens 53,128
"""

JUDGE = """\
Ask judges about pairs that humans have labelled, and say how far each can be trusted: accuracy and Cohen's kappa
against the labels, the share of invalid answers, whether it prefers the text that stands first or the longer one, and
how well any two judges agree, each with a 95 % interval over pairs. PAIRS is a file in LLMBar's form, {"input",
"output_1", "output_2", "label"}, or any other file of pairs that training reads, whose chosen completion is the label.
A judge is a name, YAML or its file, or your own class; several are separated by commas or named one by one. Judging a
pair again in the same way costs nothing: replies come from the cache. docs/judges.md says how to read the numbers.

  overopt judge agreement examples/data/llmbar_natural.json --judge '{name: openai, model: gpt-4o-mini}' --limit 50
  overopt judge agreement pairs.jsonl --judge a.yaml,b.yaml --judge my_judge.py:Longest --out out/agreement
  overopt judge agreement pairs.jsonl --judge '{name: reward_model, path: runs/rm}' --json
"""

LOG = """\
Send the records of a run to a sink: tensorboard, trackio or wandb (offline by default), each installed by the extra of
that name, or your own class. A sink's settings are written as YAML. To send records while a run is training, set
`sinks: [tensorboard]` in its YAML, or `overopt train ... --sinks '[tensorboard]'`.

  overopt log runs/kl --sink tensorboard
  overopt log runs/kl --sink '{name: wandb, project: mine}' --sink trackio
"""

BEST_OF_N = """\
Estimate the gold score of the candidate that a proxy ranks best among n: a table with intervals and a verdict, and a
figure. FILE_OR_RUNS is one of
  a JSONL file of {"prompt", "candidates": [{"text", "proxy", "gold"}]}, the candidates being samples of one policy;
  a JSONL file in the format of REALSumm, {"doc_id", "ref", "cands": [{"system", "summary", "litepyramid_recall"}]},
    whose proxy is ROUGE (pip install 'overopt[rouge]');
  run directories, or folders that contain some: the completions of their checkpoints for the same prompts.

  overopt best-of-n scored.jsonl
  overopt best-of-n examples/data/realsumm_excerpt.jsonl --rouge rouge2-precision -o figures/rouge.pdf
  overopt best-of-n out/demo/runs
"""

REPORT = """\
Write one self-contained HTML page about runs (a verdict per group, a table, figures, samples, and how the runs were
made), and each figure as SVG into FILE_figures/. RUNS are run directories or folders that contain some. Runs in
progress are drawn up to now; a run that cannot be read is named and left out. Every judge that has judged the runs has
columns and win rates of its own; the run's own judge comes first unless --judge says otherwise.
Figures: seeds, curves, gao, kl, consecutive, entropy, training, length, offline. gao: gold and proxy against the KL
to the reference (after Gao et al. 2022); consecutive: KL between successive policies.

  overopt report runs
  overopt report runs/kl runs/none -o kl.html --format html,pdf
  overopt report runs --format png --figures curves,kl
  overopt report runs --judge reward_model,gold
  overopt report runs --serve
"""

CONVERT = """\
Write a model with pickled weights (pytorch_model.bin, one file or shards) as a folder with safetensors, which is what
training reads. The pickle is opened by torch's restricted unpickler (weights_only), which runs no code; one that asks
for more than tensors is refused. Every tensor keeps its name and its bits, of tied weights one name is kept, and
configuration, tokenizer and card go along. A GGUF file is dequantized. docs/ready_models.md lists public models that
need this.
Doing it again does nothing; FOLDER is never overwritten.

  overopt convert OWNER/NAME@REVISION models/name
  overopt convert downloads/old-model models/old-model
"""

PUSH = """\
Put the model of a finished run into a repository on the Hub: its last checkpoint (of a stopped run, the best), and a
card with its outcome, numbers, a figure, the settings and what it was made from, with commits. A LoRA adapter is merged
into the whole model first. Paths of this machine and secrets stay here: a file that holds the value of a variable such
as HF_TOKEN is not sent.
HF_TOKEN must hold a token that may write. A repository with files of others is refused; one that was pushed before is
replaced by a new commit. The commit is printed: as a parent, hf://OWNER/NAME@COMMIT never changes.

  overopt push runs/kl OWNER/NAME
  overopt push runs/kl OWNER/NAME --public
"""

MERGE = """\
Add a LoRA adapter to the weights that it was trained on, and write the whole as an ordinary model folder in float32,
which any program opens. RUN_OR_FOLDER is a run with `trainable: lora` (its last checkpoint is taken), a checkpoint of
one, or a folder that PEFT wrote; policies and reward models. FOLDER must not exist.

  overopt merge runs/online models/merged
  overopt merge runs/online/checkpoints/step-500 models/merged-500
"""

PLAN = """\
Estimate what a stage, or each run of a study or sweep, needs before anything runs: parameters, tokens, FLOPs, memory by
part, hours. Runs of equal cost share an entry. Without --device, part of a step is timed on this machine, in seconds;
with --device, the estimate uses that GPU's data sheet. For a stage, every field is also a flag, as with `train`.

  overopt plan online.yaml
  overopt plan online.yaml --compute.precision bf16 --device h100 --price 3
  overopt plan study.yaml --scale m
  overopt plan maxent-failure-modes --scale pythia --only "KL-*" --device h100
"""

SHOW = """\
Show the first records of a stage, or of each run of a study or sweep, as the model will see them: the prompt and its
completions token by token, and the tokens on which the loss falls. Records are read, and left out, as training does.
Only the tokenizer of the model is needed. In a terminal tokens are told apart by shade and the loss by color; in a pipe
`|` stands before each token. For a stage, every field is also a flag, as with `train`.

  overopt show sft.yaml
  overopt show offline.yaml --samples 10 --task.limit 100
  overopt show maxent-failure-modes --scale pythia --only "DPO-1B" | less
"""

POWER = """\
Compute how many seeds and judged prompts tell two runs apart whose win rates differ by so much: the standard error of
their difference, the chance to find it (power), the chance to find one where there is none, and the least numbers of
seeds and of prompts. The spread over seeds is given as a standard deviation, or measured from the runs of a study
(--out of `overopt study`, or its Parquet files). Two tests are compared: two standard errors, the rule of all
verdicts, and a t-test at 5 % over seeds.
With one ROW, the last evaluation is compared with that of step 0, the SFT policy. More in docs/power.md.

  overopt power --difference 0.1 --sd 0.05
  overopt power --difference 0.1 --sd 0.05 --base 0.3 --discordance 0.25 --seeds 3,5,10 --prompts 256,1000
  overopt power --study out/study --runs ME-1B-1e-6:coef=0.5 KL-1B
  overopt power --study out/study --runs KL-1B --difference 0.05 --seeds 5 --json
"""

THEORY = """\
Check the statements T1 to T16 that lead from maximum-entropy RL to SimPO, and where that derivation fails, on finite
sets of candidates, in closed form and in float64. A residual is the largest error found; where a statement says that
two things differ, it is how far their gap falls short. Exit code 1 if a statement does not hold.

  overopt theory
  overopt theory --json
"""

CLAIMS = """\
Test the claims C1 to C44 of the paper (arXiv 2509.20265) on the runs of a study, from their records alone. STUDY_DIR is
the folder of a study, or one with its Parquet files. A verdict is one of
  replicated      the test of the claim comes out true
  contradicted    the opposite is significant, at two standard errors
  inconclusive    neither
  not tested      a run or a metric that the test needs is missing
Behind it stands on how many single seeds the test comes out true. Every threshold of the tests is also a flag.
Exit code 0 whatever the verdicts are.

  overopt claims out/study
  overopt claims out/study --json
  overopt claims out/study --judge reward_model      by the labels of a judge that has judged the runs since
  overopt claims out/study --trend.tau 0.4 --comparison.comparable 0.05
  overopt claims out/study --export published        a few megabytes with all that claims, tables and figures need
  overopt claims published
"""

OBJECTIVES = """\
List every objective, or explain one: formula, fields with defaults, what it needs, source, and its name and parameters
in other libraries.

  overopt objectives
  overopt objectives simpo
  overopt objectives --json
"""
