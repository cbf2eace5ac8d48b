# Programs that measure; tests/bench/run uses them.
EXTRA_DIST += %D%/run %D%/lib.sh %D%/cache %D%/main %D%/serve %D%/makestore %D%/urls.lua
noinst_PROGRAMS += %D%/openread %D%/miss %D%/cachesim

%C%_openread_SOURCES = %D%/openread.c
%C%_miss_SOURCES = %D%/miss.c
%C%_miss_LDADD = $(CURL_LIBS)

%C%_cachesim_SOURCES = %D%/cachesim.c
%C%_cachesim_LDADD = fetchd/libfetchd.a $(LIBINTINODE_LIBS) -lm
