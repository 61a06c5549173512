# For fingers that type make. ./run does the work and needs no make.
.PHONY: demo test lint
demo test lint:
	@./run $@
