# libintinode: no daemon, no policy.
noinst_LIBRARIES += %D%/libintinode.a

%C%_libintinode_a_SOURCES = \
	%D%/address.c %D%/address.h \
	%D%/auth.c %D%/auth.h \
	%D%/cache.c %D%/cache.h \
	%D%/challenge.c %D%/challenge.h \
	%D%/config.c %D%/config.h \
	%D%/control.c %D%/control.h \
	%D%/digest.c %D%/digest.h \
	%D%/exchange.c %D%/exchange.h %D%/exchange-body.c %D%/exchange-text.c \
	%D%/fdpass.c %D%/fdpass.h \
	%D%/http.c %D%/http.h %D%/http-internal.h %D%/http-error.c %D%/http-setup.c \
	%D%/json.c %D%/json.h \
	%D%/log.c %D%/log.h \
	%D%/oci.c %D%/oci.h %D%/oci-platform.c \
	%D%/reference.c %D%/reference.h \
	%D%/registry.c %D%/registry.h %D%/registry-internal.h %D%/registry-fetch.c \
	%D%/registry-upload.c \
	%D%/stub.c %D%/stub.h \
	%D%/stubtable.c %D%/stubtable.h \
	%D%/token.c %D%/token.h %D%/token-internal.h %D%/token-realm.c %D%/token-request.c \
	%D%/url.c %D%/url.h \
	%D%/util.c %D%/util.h

LIBINTINODE = %D%/libintinode.a
LIBINTINODE_LIBS = $(LIBINTINODE) $(CURL_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS) $(ARCHIVE_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS) $(INIH_LIBS)
