# Unit tests: one program per module, tests/unit/test-MODULE.c.
include %D%/unit/local.mk
include %D%/fuzz/local.mk
