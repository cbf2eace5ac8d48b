EXTRA_DIST += %D%/test.h

if HAVE_CMOCKA
unit_tests = \
	%D%/test-control \
	%D%/test-oci \
	%D%/test-range \
	%D%/test-route \
	%D%/test-store \
	%D%/test-stub

check_PROGRAMS += $(unit_tests)
UNIT_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -DTEST_DATA='"$(abs_top_srcdir)/tests/data"'
UNIT_LIBS = $(LIBINTINODE_LIBS) $(CMOCKA_LIBS)

%C%_test_control_SOURCES = %D%/test-control.c
%C%_test_control_CFLAGS = $(UNIT_CFLAGS)
%C%_test_control_LDADD = $(UNIT_LIBS)

%C%_test_oci_SOURCES = %D%/test-oci.c
%C%_test_oci_CFLAGS = $(UNIT_CFLAGS)
%C%_test_oci_LDADD = $(UNIT_LIBS)

%C%_test_range_SOURCES = %D%/test-range.c
%C%_test_range_CFLAGS = $(UNIT_CFLAGS)
%C%_test_range_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_route_SOURCES = %D%/test-route.c
%C%_test_route_CFLAGS = $(UNIT_CFLAGS)
%C%_test_route_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_store_SOURCES = %D%/test-store.c
%C%_test_store_CFLAGS = $(UNIT_CFLAGS)
%C%_test_store_LDADD = $(LIBSERVER_LIBS) $(CMOCKA_LIBS)

%C%_test_stub_SOURCES = %D%/test-stub.c
%C%_test_stub_CFLAGS = $(UNIT_CFLAGS)
%C%_test_stub_LDADD = $(UNIT_LIBS)
endif
