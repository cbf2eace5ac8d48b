# conf
EXTRA_DIST += %D%/intinode-serve.conf %D%/intinode-serve.service \
	%D%/fetchd.conf %D%/intinode-fetchd.service %D%/intinode-restore.service
