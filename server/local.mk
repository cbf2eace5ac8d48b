# intinode-serve: its modules are a library, so that unit tests and fuzz targets link them.
noinst_LIBRARIES += %D%/libserver.a

%C%_libserver_a_SOURCES = \
	%D%/acceptor.c %D%/acceptor.h \
	%D%/admin.c %D%/admin.h \
	%D%/admin_request.c %D%/admin_request.h \
	%D%/admin_run.c %D%/admin_run.h \
	%D%/access.c %D%/access.h \
	%D%/authorize.c %D%/authorize.h \
	%D%/blob.c \
	%D%/blob_upload.c \
	%D%/collector.c %D%/collector.h \
	%D%/commands.c %D%/commands.h %D%/commands-internal.h \
	%D%/commands_ask.c \
	%D%/connections.c %D%/connections.h %D%/connections-internal.h \
	%D%/content.c %D%/content.h \
	%D%/daemon.c \
	%D%/digestset.c %D%/digestset.h \
	%D%/errors.c %D%/errors.h \
	%D%/failures.c %D%/failures.h \
	%D%/follower.c %D%/follower.h \
	%D%/fsck.c %D%/fsck.h %D%/fsck-internal.h \
	%D%/fsck_blobs.c \
	%D%/fsck_index.c \
	%D%/fsck_manifest.c \
	%D%/fsck_repositories.c \
	%D%/gc.c %D%/gc.h \
	%D%/hot.c %D%/hot.h \
	%D%/verified.c %D%/verified.h \
	%D%/htpasswd.c %D%/htpasswd.h \
	%D%/http.c %D%/http.h %D%/http_internal.h \
	%D%/index.c %D%/index.h %D%/index_env.c %D%/index_internal.h \
	%D%/index_rebuild.c %D%/index_rebuild.h \
	%D%/index_rows.c %D%/index_rows.h \
	%D%/jwt.c %D%/jwt.h \
	%D%/listen.c %D%/listen.h \
	%D%/listing.c \
	%D%/manifest.c %D%/manifest.h \
	%D%/manifest_http.c \
	%D%/metrics.c %D%/metrics.h \
	%D%/monitor.c %D%/monitor.h \
	%D%/negotiate.c %D%/negotiate.h \
	%D%/operations.c %D%/operations.h \
	%D%/options.c %D%/options.h \
	%D%/pack.c %D%/pack.h %D%/pack_format.h %D%/pack_read.c \
	%D%/packer.c %D%/packer.h \
	%D%/quarantine.c %D%/quarantine.h \
	%D%/quota.c %D%/quota.h \
	%D%/range.c %D%/range.h \
	%D%/reader.c %D%/reader.h \
	%D%/recovery.c %D%/recovery.h \
	%D%/reply.c \
	%D%/request.c %D%/request.h \
	%D%/route.c %D%/route.h \
	%D%/rules.c %D%/rules.h \
	%D%/scrub.c %D%/scrub.h \
	%D%/store.c %D%/store.h \
	%D%/store_blob.c \
	%D%/store_internal.h \
	%D%/store_open.c \
	%D%/store_health.c \
	%D%/store_mend.c \
	%D%/storestat.c %D%/storestat.h \
	%D%/store_repository.c \
	%D%/store_walk.c \
	%D%/tls.c %D%/tls.h \
	%D%/upload.c %D%/upload.h %D%/upload_data.c %D%/upload_internal.h \
	%D%/watchdog.c \
	%D%/workers.c %D%/workers.h

LIBSERVER_LIBS = %D%/libserver.a $(LIBINTINODE_LIBS) $(MHD_LIBS) $(GNUTLS_LIBS) $(CRYPT_LIBS) $(LMDB_LIBS)

sbin_PROGRAMS += intinode-serve
intinode_serve_SOURCES = %D%/main.c
intinode_serve_LDADD = $(LIBSERVER_LIBS)
