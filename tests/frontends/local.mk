# Every front end must pass the same suite; fuse-driver is the fuse one without the rest.
noinst_PROGRAMS += %D%/fuse-driver

%C%_fuse_driver_SOURCES = %D%/fuse-driver.c
%C%_fuse_driver_LDADD = $(FUSE_FRONTEND_LIBS) $(LIBINTINODE_LIBS)

EXTRA_DIST += %D%/compare.sh %D%/equal.test %D%/lib.sh %D%/fuse-equal.test %D%/fuse-miss.test
