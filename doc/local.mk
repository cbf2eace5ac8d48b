EXTRA_DIST += %D%/ARCHITECTURE.md
dist_man_MANS += %D%/intinode-serve.8 %D%/intinode-fetchd.8
