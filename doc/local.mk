EXTRA_DIST += %D%/ARCHITECTURE.md
dist_man_MANS += %D%/intinode-serve.8
