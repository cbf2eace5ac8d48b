# Programs that measure; tests/bench/run uses them.
EXTRA_DIST += %D%/run %D%/lib.sh %D%/main %D%/serve %D%/makestore %D%/urls.lua
noinst_PROGRAMS += %D%/openread %D%/miss

%C%_openread_SOURCES = %D%/openread.c
%C%_miss_SOURCES = %D%/miss.c
%C%_miss_LDADD = $(CURL_LIBS)
