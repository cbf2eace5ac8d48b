# libintinode: no daemon, no policy.
noinst_LIBRARIES += %D%/libintinode.a

%C%_libintinode_a_SOURCES = \
	%D%/cache.c %D%/cache.h \
	%D%/config.c %D%/config.h \
	%D%/control.c %D%/control.h \
	%D%/digest.c %D%/digest.h \
	%D%/fdpass.c %D%/fdpass.h \
	%D%/json.c %D%/json.h \
	%D%/log.c %D%/log.h \
	%D%/oci.c %D%/oci.h %D%/oci-platform.c \
	%D%/reference.c %D%/reference.h \
	%D%/stub.c %D%/stub.h \
	%D%/stubtable.c %D%/stubtable.h \
	%D%/util.c %D%/util.h

LIBINTINODE = %D%/libintinode.a
LIBINTINODE_LIBS = $(LIBINTINODE) $(CURL_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS) $(ARCHIVE_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS) $(INIH_LIBS)
