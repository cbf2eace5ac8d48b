EXTRA_DIST += %D%/ARCHITECTURE.md %D%/clients.md %D%/FAULTS.md %D%/FAULTS-fetchd.md
dist_man_MANS += %D%/intinode.1 %D%/intinode-serve.8 %D%/intinode-fetchd.8 %D%/intinode-frontends.7
