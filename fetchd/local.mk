# intinode-fetchd: supervisor, network worker and holder of descriptors in one binary.
noinst_LIBRARIES += %D%/libfetchd.a

%C%_libfetchd_a_SOURCES = \
	%D%/batch.c %D%/batch.h \
	%D%/breaker.c %D%/breaker.h \
	%D%/caller.c %D%/caller.h \
	%D%/controlserver.c %D%/controlserver.h %D%/controlserver-internal.h \
	%D%/controlserver-cache.c \
	%D%/dialer.c %D%/dialer.h \
	%D%/fetch.c %D%/fetch.h %D%/fetch-internal.h \
	%D%/fetch-queue.c \
	%D%/fetch-status.c \
	%D%/fetch-transfer.c \
	%D%/history.c %D%/history.h \
	%D%/images.c \
	%D%/keep.c %D%/keep.h %D%/keep-internal.h \
	%D%/keep-holder.c \
	%D%/keep-serve.c %D%/keep-serve.h \
	%D%/metricsserver.c %D%/metricsserver.h \
	%D%/miss.c %D%/miss.h %D%/miss-internal.h \
	%D%/miss-session.c \
	%D%/mounts.c %D%/mounts.h %D%/mounts-internal.h \
	%D%/names.c %D%/names.h \
	%D%/options.c %D%/options.h %D%/options-internal.h \
	%D%/options-sources.c \
	%D%/offload.c %D%/offload.h \
	%D%/overlays.c %D%/overlays.h \
	%D%/pins.c %D%/pins.h \
	%D%/policy.c %D%/policy.h \
	%D%/sandbox.c %D%/sandbox.h \
	%D%/scrub.c %D%/scrub.h \
	%D%/source.c %D%/source.h \
	%D%/space.c %D%/space.h %D%/space-internal.h \
	%D%/space-evict.c \
	%D%/supervisor.h \
	%D%/suspects.c %D%/suspects.h \
	%D%/syscalls.c %D%/syscalls.h \
	%D%/worker.c \
	%D%/workerlink.c %D%/workerlink.h \
	%D%/workerspawn.c %D%/workerspawn.h
%C%_libfetchd_a_CFLAGS = $(AM_CFLAGS) $(FUSE_CFLAGS)

sbin_PROGRAMS += intinode-fetchd
intinode_fetchd_SOURCES = %D%/main.c
intinode_fetchd_LDADD = %D%/libfetchd.a $(LIBINTINODE_LIBS) $(FUSE_LIBS) $(EVENT_LIBS) $(SECCOMP_LIBS) -lm
