# Set-up, demonstration and tests; `make help` explains. Needs python3, g++ and make.

.DEFAULT_GOAL := help
.PHONY: help setup parity test test-slow gotchas convergence masks photographs lint clean

BIN := .venv/bin
ARGS ?=
# Files of tests that are run at a time, on two processors: a test often waits for what it has started.
JOBS ?= 3

help:
	@echo 'make parity      set up everything, convert a DETR-R50 checkpoint and compare both detectors on a photograph'
	@echo 'make test        set up everything and run the tests;     ARGS="tests/setup -k doctor" narrows them'
	@echo '                 JOBS=4 make test                         runs four files of tests at a time instead of three'
	@echo 'make test-slow   the tests that take minutes'
	@echo 'make gotchas     where four versions of Jittor differ from PyTorch, each in its own environment: half an hour'
	@echo 'make convergence train both on drawn shapes until they find them all, then from several seeds: hours'
	@echo 'make masks       the same with masks and panoptic maps, all at once and on a frozen detector: hours'
	@echo 'make photographs train both on photographs in the layout of COCO, in COCO=FOLDER: hours'
	@echo 'make lint        ruff, mypy and the import contracts'
	@echo 'make setup       only set up: .venv, all packages, and the core of Jittor compiled'
	@echo 'make clean       remove what was built here, except .venv (for that: rm -r .venv)'
	@echo
	@echo 'PYTHON=python3.12 make parity     use that interpreter (3.10 to 3.12) for .venv'
	@echo 'TORCH_INDEX=URL make parity       look for PyTorch in that package index too. Where the usual build of PyTorch'
	@echo '                                  is for CUDA (gigabytes) and the machine has no GPU, give the index of the'
	@echo '                                  CPU builds, which the installation page of PyTorch names.'
	@echo 'When something does not work:     .venv/bin/python -m parity doctor'

setup:
	@PYTHON='$(PYTHON)' TORCH_INDEX='$(TORCH_INDEX)' .ci/setup

parity: setup
	@$(BIN)/python -m parity demo $(ARGS)

# Kernels are compiled one by one, since Jittor crashes now and then in a thread that compiles them, and the processors
# are busy with other tests. Bytecode is kept, without which every process compiles Python anew.
test: setup
	unset PYTHONDONTWRITEBYTECODE; OMP_NUM_THREADS=1 use_parallel_op_compiler=0 $(BIN)/python -m pytest -q --durations=10 -n $(JOBS) --dist loadfile -m 'not slow' $(ARGS)

test-slow: setup
	unset PYTHONDONTWRITEBYTECODE; $(BIN)/python -m pytest -q --durations=10 -m slow $(ARGS)

# Environments and what is measured stay in out/gotchas, so that a broken-off run goes on; ARGS=--again measures anew.
gotchas: setup
	$(BIN)/python -m parity gotchas --versions 1.3.8.5,1.3.9.14,1.3.10.0,1.3.11.0 \
		--write-versions docs/gotchas-versions.md $(ARGS)

# All of the network is trained, from seeded weights, so that AP rises from 0.
SMALL_MODEL := --backbone resnet18 --pre_norm --hidden_dim 128 --enc_layers 3 --dec_layers 3 --nheads 4 \
	--dim_feedforward 512 --dropout 0
SMALL := $(SMALL_MODEL) --trainable_backbone_layers 5 --image_size 96 --no_augmentation --batch_size 4 --lr 1e-4 \
	--lr_backbone 1e-4 --num_workers 0
SHAPES := --coco_path out/convergence/shapes $(SMALL) --num_queries 10 --num_classes 45

out/convergence/shapes: | setup
	$(BIN)/python -m fixtures $@ --easy

convergence: setup | out/convergence/shapes
	OMP_NUM_THREADS=1 $(BIN)/python -m parity train --output_dir out/convergence/runs $(SHAPES) --epochs 80 --lr_drop 65 \
		--eval_every 20 --twins 16 --jobs 2 $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m parity train --output_dir out/convergence/runs7 $(SHAPES) --epochs 80 --lr_drop 65 \
		--eval_every 20 --twins 16 --jobs 2 --seed 7 $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m parity converge --output_dir out/convergence/seeds $(SHAPES) --epochs 40 --lr_drop 32 \
		--eval_every 40 --seeds 5 --margin-ap 0.1 --margin-loss 0.2 --jobs 2 $(ARGS)

# The mask head of a small detector, with stuff above and below. Dice loss counts more than by default, since of a
# small object the focal loss alone says nothing.
MASKED := --nheads 8 --num_queries 10 --num_classes 120 --dataset_file coco_panoptic
PANOPTIC := $(SMALL) $(MASKED) --coco_path out/convergence/shapes --coco_panoptic_path out/convergence/shapes
DETECTOR := out/convergence/detector

masks: setup | out/convergence/shapes
	@test -d out/convergence/shapes/panoptic_train2017 || { echo 'out/convergence/shapes is older than panoptic maps: \
	remove it, and it is drawn anew'; exit 2; }
	OMP_NUM_THREADS=1 $(BIN)/python -m parity train --output_dir out/convergence/masks $(PANOPTIC) --masks \
		--dice_loss_coef 5 --epochs 80 --lr_drop 65 --eval_every 20 --twins 8 --jobs 2 $(ARGS)
	mkdir -p $(DETECTOR)
	test -f $(DETECTOR)/checkpoint.pth || $(BIN)/python -m fixtures checkpoint $(DETECTOR)/initial.pth --initial \
		--seed 42 $(SMALL_MODEL) $(MASKED) --force
	OMP_NUM_THREADS=2 $(BIN)/python -m detr_pt --output_dir $(DETECTOR) $(PANOPTIC) --epochs 80 --lr_drop 65 \
		--eval_every 20 --eval_train --resume $$(ls $(DETECTOR)/checkpoint.pth 2> /dev/null || echo $(DETECTOR)/initial.pth)
	OMP_NUM_THREADS=1 $(BIN)/python -m parity train --output_dir out/convergence/frozen $(PANOPTIC) --masks \
		--frozen_weights $(DETECTOR)/checkpoint.pth --dice_loss_coef 5 --lr 3e-4 --epochs 320 --lr_drop 240 \
		--eval_every 80 --twins 2 --jobs 2 $(ARGS)

photographs: setup
	@test -d '$(COCO)' || { echo 'make photographs COCO=FOLDER: the folder that has train2017, val2017 and annotations'; exit 2; }
	OMP_NUM_THREADS=1 $(BIN)/python -m parity train --coco_path '$(COCO)' --output_dir out/convergence/photographs $(SMALL) \
		--num_queries 50 --epochs 150 --lr_drop 130 --eval_every 25 --twins 1 --jobs 2 $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf build dist out .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
