# Short forms for `./run demo`, `./run test` and `./run lint`, which need no make.
.PHONY: demo test lint
demo test lint:
	@./run $@
