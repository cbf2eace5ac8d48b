EXTRA_DIST += %D%/setup %D%/check .ci/run
