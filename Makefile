# Two commands on a fresh machine: `make run` and `make test`. Everything else is below; see README.md.
SEALIFT := .venv/bin/sealift
PY := .venv/bin/python

.PHONY: run test search demo lint bench installers site-test setup self-test clean

run: setup
	@if [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		echo "There is no display here, so the window cannot open; running the demonstration instead (make demo)."; \
		$(SEALIFT) demo; \
	else \
		$(SEALIFT); \
	fi

setup:
	@.ci/setup

test: setup
	QT_QPA_PLATFORM=offscreen $(PY) -m pytest -m "not reference and not benchmark"

search: setup
	SEALIFT_EXAMPLES=search QT_QPA_PLATFORM=offscreen $(PY) -m pytest -m "hypothesis and not reference and not benchmark"

demo: setup
	@$(SEALIFT) demo

self-test: setup
	@$(SEALIFT) self-test

lint: setup
	$(PY) -m ruff check .
	.venv/bin/lint-imports

bench: setup
	$(PY) -m pytest -m benchmark -s tests/benchmarks

installers: setup
	.ci/installers

site-test: setup
	$(PY) tests/site/site_test.py
	$(PY) tests/site/inventory_site_test.py
	$(PY) tests/site/inventory_site_test.py --beside-window

clean:
	rm -rf build dist .pytest_cache .hypothesis .ruff_cache
