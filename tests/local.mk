# Unit tests: one program per module, tests/unit/test-MODULE.c. Scenarios: tests/AREA/NAME.test,
# scripts that scripts/check runs (see tests/lib.sh).
EXTRA_DIST += %D%/lib.sh %D%/make-oci %D%/run-one %D%/data
EXTRA_DIST += %D%/dist
EXTRA_DIST += %D%/fetchd
EXTRA_DIST += %D%/lib
EXTRA_DIST += %D%/lint
EXTRA_DIST += %D%/main
EXTRA_DIST += %D%/runner
EXTRA_DIST += %D%/serve

include %D%/unit/local.mk
include %D%/fuzz/local.mk
include %D%/bench/local.mk
include %D%/frontends/local.mk
