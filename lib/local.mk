# libintinode: no daemon, no policy.
noinst_LIBRARIES += %D%/libintinode.a

%C%_libintinode_a_SOURCES = \
	%D%/address.c %D%/address.h \
	%D%/auth.c %D%/auth.h \
	%D%/background.c %D%/background.h \
	%D%/cache.c %D%/cache.h %D%/cache-internal.h \
	%D%/cache-seal.c \
	%D%/challenge.c %D%/challenge.h \
	%D%/channel.c %D%/channel.h \
	%D%/compress.c %D%/compress.h \
	%D%/config.c %D%/config.h \
	%D%/control.c %D%/control.h \
	%D%/dial.c %D%/dial.h \
	%D%/digest.c %D%/digest.h \
	%D%/exchange.c %D%/exchange.h %D%/exchange-body.c %D%/exchange-text.c \
	%D%/fdpass.c %D%/fdpass.h \
	%D%/http.c %D%/http.h %D%/http-internal.h %D%/http-dial.c %D%/http-error.c \
	%D%/http-setup.c %D%/http-trust.c \
	%D%/image.c %D%/image.h \
	%D%/json.c %D%/json.h \
	%D%/layout.c %D%/layout.h \
	%D%/layout-create.c %D%/layout-internal.h \
	%D%/layout-archive.c %D%/layout-archive.h \
	%D%/layout-index.c %D%/layout-index.h \
	%D%/log.c %D%/log.h \
	%D%/oci.c %D%/oci.h %D%/oci-platform.c \
	%D%/pool.c %D%/pool.h \
	%D%/reference.c %D%/reference.h \
	%D%/registry-referrers.c \
	%D%/registry-upload.c \
	%D%/registry.c %D%/registry.h %D%/registry-internal.h %D%/registry-fetch.c \
	%D%/spool.c %D%/spool.h \
	%D%/stub.c %D%/stub.h \
	%D%/stubtable.c %D%/stubtable.h \
	%D%/tarheader.c %D%/tarheader.h \
	%D%/tarstream.c %D%/tarstream.h \
	%D%/tarwrite.c %D%/tarwrite.h \
	%D%/thin.c %D%/thin.h \
	%D%/token.c %D%/token.h %D%/token-internal.h %D%/token-realm.c %D%/token-request.c \
	%D%/url.c %D%/url.h \
	%D%/util.c %D%/util.h

LIBINTINODE = %D%/libintinode.a
LIBINTINODE_LIBS = $(LIBINTINODE) $(CURL_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS) $(ARCHIVE_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS)
