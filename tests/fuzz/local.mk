# Fuzz targets: fuzz-NAME.c defines LLVMFuzzerTestOneInput(). With --enable-fuzz it is linked with
# libFuzzer; otherwise with replay.c, and "make check" plays its corpus through it.
fuzz_targets = \
	%D%/fuzz-authorization \
	%D%/fuzz-admin \
	%D%/fuzz-challenge \
	%D%/fuzz-config \
	%D%/fuzz-oci \
	%D%/fuzz-pack \
	%D%/fuzz-reference \
	%D%/fuzz-request \
	%D%/fuzz-stub \
	%D%/fuzz-thin \
	%D%/fuzz-token

FUZZ_LIBS = $(LIBINTINODE_LIBS)
EXTRA_DIST += %D%/corpus %D%/replay.c %D%/run

if FUZZ
noinst_PROGRAMS += $(fuzz_targets)
fuzz_main =
else
check_PROGRAMS += $(fuzz_targets)
fuzz_main = %D%/replay.c
endif

%C%_fuzz_admin_SOURCES = %D%/fuzz-admin.c $(fuzz_main)
%C%_fuzz_admin_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/admin"'
%C%_fuzz_admin_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_admin_LDADD = $(LIBSERVER_LIBS)

%C%_fuzz_challenge_SOURCES = %D%/fuzz-challenge.c $(fuzz_main)
%C%_fuzz_challenge_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/challenge"'
%C%_fuzz_challenge_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_challenge_LDADD = $(FUZZ_LIBS)

%C%_fuzz_config_SOURCES = %D%/fuzz-config.c $(fuzz_main)
%C%_fuzz_config_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/config"'
%C%_fuzz_config_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_config_LDADD = $(LIBSERVER_LIBS)

%C%_fuzz_oci_SOURCES = %D%/fuzz-oci.c $(fuzz_main)
%C%_fuzz_oci_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/oci"'
%C%_fuzz_oci_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_oci_LDADD = $(FUZZ_LIBS)

%C%_fuzz_pack_SOURCES = %D%/fuzz-pack.c $(fuzz_main)
%C%_fuzz_pack_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/pack"'
%C%_fuzz_pack_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_pack_LDADD = $(LIBSERVER_LIBS)

%C%_fuzz_reference_SOURCES = %D%/fuzz-reference.c $(fuzz_main)
%C%_fuzz_reference_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/reference"'
%C%_fuzz_reference_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_reference_LDADD = $(FUZZ_LIBS)

%C%_fuzz_request_SOURCES = %D%/fuzz-request.c $(fuzz_main)
%C%_fuzz_request_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/request"'
%C%_fuzz_request_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_request_LDADD = $(LIBSERVER_LIBS)

%C%_fuzz_stub_SOURCES = %D%/fuzz-stub.c $(fuzz_main)
%C%_fuzz_stub_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/tests/data/stubs"'
%C%_fuzz_stub_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_stub_LDADD = $(FUZZ_LIBS)

%C%_fuzz_thin_SOURCES = %D%/fuzz-thin.c tests/unit/roundtrip.c tests/unit/roundtrip.h $(fuzz_main)
%C%_fuzz_thin_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/thin"'
%C%_fuzz_thin_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_thin_LDADD = $(FUZZ_LIBS)

%C%_fuzz_authorization_SOURCES = %D%/fuzz-authorization.c $(fuzz_main)
%C%_fuzz_authorization_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/authorization"'
%C%_fuzz_authorization_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_authorization_LDADD = $(LIBSERVER_LIBS)

%C%_fuzz_token_SOURCES = %D%/fuzz-token.c $(fuzz_main)
%C%_fuzz_token_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZ_CORPUS='"$(abs_top_srcdir)/%D%/corpus/token"'
%C%_fuzz_token_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
%C%_fuzz_token_LDADD = $(LIBSERVER_LIBS)
