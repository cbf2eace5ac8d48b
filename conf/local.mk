# conf: examples of settings, with each as it is by default; systemd units and the registry's user,
# installed where configure found systemd or was told its directories.
units = %D%/intinode-serve.service %D%/intinode-fetchd.service %D%/intinode-restore.service
unit_sources = %D%/intinode-serve.service.in %D%/intinode-fetchd.service.in %D%/intinode-restore.service.in
sysusers = %D%/intinode-serve.sysusers
EXTRA_DIST += $(unit_sources) $(sysusers)
CLEANFILES += $(units)

examplesdir = $(docdir)/examples
dist_examples_DATA = %D%/intinode-serve.conf %D%/fetchd.conf

# config.status gives paths in terms of ${prefix}; only make knows them whole.
$(units): %D%/%.service: %D%/%.service.in
	$(AM_V_GEN)$(MKDIR_P) %D% && \
	sed -e 's,@sbindir[@],$(sbindir),' -e 's,@bindir[@],$(bindir),' \
		$(srcdir)/$@.in >$@.tmp && mv $@.tmp $@

if HAVE_SYSTEMD
systemdunit_DATA = $(units)
install-data-hook:
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)'
	$(INSTALL_DATA) $(srcdir)/$(sysusers) '$(DESTDIR)$(sysusersdir)/intinode-serve.conf'
uninstall-hook:
	rm -f '$(DESTDIR)$(sysusersdir)/intinode-serve.conf'
endif
