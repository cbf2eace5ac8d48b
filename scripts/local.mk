EXTRA_DIST += %D%/setup %D%/check %D%/demo .ci/run
