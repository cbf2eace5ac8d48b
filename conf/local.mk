# conf
EXTRA_DIST += %D%/intinode-serve.conf %D%/intinode-serve.service
